"""Between the latents of a picture and the sections of its stream: what the two kinds of models have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from balle_li.codec.bitstream import Section
from balle_li.codec.entropy_coder import EntropyCoder
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.side_information import EntropyParameters
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL
from balle_li.errors import BitstreamError
from balle_li.importance import Levels

Sections = dict[int, bytes]


@dataclass(frozen=True)
class Latents:
    """symbols: int16 (C, rows, columns), as coded; values: float32 of that shape, what g_s is given."""

    symbols: NDArray[np.int16]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """Latents ready to be rounded; a position's symbol s is decoded as (s + mean) · gain. All (C, rows, columns).

    centred: float32, what is rounded to symbols; mean, gain: float32; table: the table that codes the position; coded:
    False where nothing is coded and the symbol is 0. Of conditional models only: z, the symbols of the map, and what it
    and r foretell of mean and table.
    """

    centred: NDArray[np.float32]
    mean: NDArray[np.float32]
    gain: NDArray[np.float32]
    table: NDArray[np.integer]
    coded: NDArray[np.bool_]
    z: NDArray[np.int16] | None = None
    foretold: EntropyParameters | None = None

    def symbols(self) -> NDArray[np.int16]:
        """The nearest symbols."""
        return rounded(np.where(self.coded, self.centred, 0))

    def part(self, rows: slice, columns: slice) -> "Prepared":
        """A window of it, without z; it starts at an even row and column, so that its halves are those of the whole."""
        assert rows.start % 2 == columns.start % 2 == 0
        window = (slice(None), rows, columns)
        return Prepared(
            np.ascontiguousarray(self.centred[window]),
            np.ascontiguousarray(self.mean[window]),
            np.ascontiguousarray(self.gain[window]),
            np.ascontiguousarray(self.table[window]),
            np.ascontiguousarray(self.coded[window]),
            foretold=None if self.foretold is None else self.foretold.part(rows, columns),
        )


class LatentCoder(Protocol):
    """y, r: what an encoder has, float32 (C, rows, columns) and levels (rows, columns); r is None for models of one rate."""

    coder: EntropyCoder
    """Of y."""

    def prepare(self, y: NDArray[np.float32], r: Levels | None) -> Prepared:
        """What there is to code."""

    def settled(self, prepared: Prepared, values: NDArray[np.float32]) -> Prepared:
        """What there is to code when centred + mean is `values`, (C, rows, columns); the nearest symbols of one half of them
        may move mean and table of the other."""

    def encode(self, prepared: Prepared, r: Levels | None) -> Sections:
        """The sections of a stream, that of the latents last."""

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Latents:
        """Raises BitstreamError: a section is missing or damaged."""

    def bits(self, prepared: Prepared) -> NDArray[np.float32]:
        """What each position costs by the tables, (rows, columns)."""

    def importance(self, prepared: Prepared) -> NDArray[np.float32] | None:
        """What the model thinks each position is worth, (rows, columns) in [0, 1]; None if that is not the coder's to say."""


class FactorizedLatents:
    """Every channel of y has a table of its own."""

    def __init__(self, model: ModelFolder) -> None:
        self.coder = EntropyCoder(model.tables("y"))
        self._median = model.tensors["tables.y.median"].numpy(force=True)[:, None, None]

    def prepare(self, y: NDArray[np.float32], r: Levels | None) -> Prepared:
        table = np.broadcast_to(np.arange(len(y))[:, None, None], y.shape)
        one, everywhere = np.broadcast_to(np.float32(1), y.shape), np.broadcast_to(True, y.shape)
        return Prepared(y - self._median, np.broadcast_to(self._median, y.shape), one, table, everywhere)

    def settled(self, prepared: Prepared, values: NDArray[np.float32]) -> Prepared:
        return replace(prepared, centred=values - prepared.mean)

    def encode(self, prepared: Prepared, r: Levels | None) -> Sections:
        coded, outside = self.coder.encode(prepared.symbols().reshape(len(prepared.mean), -1))
        return present({Section.LATENTS_OUTSIDE: outside}) | {Section.LATENTS: coded}

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Latents:
        outside = sections.get(Section.LATENTS_OUTSIDE, b"")
        groups = self.coder.decode(needed(sections, Section.LATENTS), outside, rows * columns)
        symbols = np.stack(groups).reshape(-1, rows, columns)
        return Latents(symbols, symbols + self._median)

    def bits(self, prepared: Prepared) -> NDArray[np.float32]:
        symbols = prepared.symbols()
        costs = self.coder.bits(symbols.reshape(len(symbols), -1))
        return np.sum(costs, axis=0).reshape(symbols.shape[1:])

    def importance(self, prepared: Prepared) -> None:
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
