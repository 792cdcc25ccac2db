"""Between the latents of a picture and the sections of its stream: what the two kinds of models have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from balle_li.codec.bitstream import Section
from balle_li.codec.entropy_coder import EntropyCoder
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL
from balle_li.errors import BitstreamError
from balle_li.importance import Levels

Sections = dict[int, bytes]


@dataclass(frozen=True)
class Latents:
    """symbols: int16 (C, rows, columns), as coded; values: float32 of that shape, what g_s is given."""

    symbols: NDArray[np.int16]
    values: NDArray[np.float32]


class LatentCoder(Protocol):
    """y, r: what an encoder has, float32 (C, rows, columns) and levels (rows, columns); r is None for models of one rate."""

    def encode(self, y: NDArray[np.float32], r: Levels | None) -> Sections:
        """The sections of a stream, that of the latents last."""

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Latents:
        """Raises BitstreamError: a section is missing or damaged."""

    def bits(self, y: NDArray[np.float32], r: Levels | None) -> NDArray[np.float32]:
        """What each position costs by the tables, (rows, columns)."""

    def importance(self, y: NDArray[np.float32], r: Levels | None) -> NDArray[np.float32] | None:
        """What the model thinks each position is worth, (rows, columns) in [0, 1]; None if that is not the coder's to say."""


class FactorizedLatents:
    """Every channel of y has a table of its own."""

    def __init__(self, model: ModelFolder) -> None:
        self.coder = EntropyCoder(model.tables("y"))
        self._median = model.tensors["tables.y.median"].numpy(force=True)[:, None, None]

    def encode(self, y: NDArray[np.float32], r: Levels | None) -> Sections:
        symbols = rounded(y - self._median)
        coded, outside = self.coder.encode(symbols.reshape(len(symbols), -1))
        return present({Section.LATENTS_OUTSIDE: outside}) | {Section.LATENTS: coded}

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Latents:
        outside = sections.get(Section.LATENTS_OUTSIDE, b"")
        groups = self.coder.decode(needed(sections, Section.LATENTS), outside, rows * columns)
        symbols = np.stack(groups).reshape(-1, rows, columns)
        return Latents(symbols, symbols + self._median)

    def bits(self, y: NDArray[np.float32], r: Levels | None) -> NDArray[np.float32]:
        symbols = rounded(y - self._median)
        costs = self.coder.bits(symbols.reshape(len(symbols), -1))
        return np.sum(costs, axis=0).reshape(y.shape[1:])

    def importance(self, y: NDArray[np.float32], r: Levels | None) -> None:
        return None


def rounded(values: NDArray[np.float32]) -> NDArray[np.int16]:
    """The nearest whole numbers, clipped to what a stream can hold."""
    return np.rint(values).clip(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL).astype(np.int16)


def needed(sections: Mapping[int, bytes], tag: Section) -> bytes:
    """The content of a section. Raises BitstreamError when there is none."""
    if tag not in sections:
        raise BitstreamError(f"the stream has no {tag.name.lower()}; it is damaged")
    return sections[tag]


def present(sections: Sections) -> Sections:
    """The sections that have content."""
    return {tag: content for tag, content in sections.items() if content}
