"""What every way of coding latents offers to a model, to training, and to the codec."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.latents.entropy_coder import EntropyCoder
from balle_li.latents.sections import Sections
from balle_li.latents.tables import MAX_ABSOLUTE_SYMBOL
from balle_li.quality_map import Levels

Floats = NDArray[np.float32]


class LatentOutput(NamedTuple):
    """y_hat: what g_s is given; likelihoods: of every coded latent by its name, fp32; importance: `(B, 1, h, w)` in [0, 1],
    the share of the bits that the prior expects at each place, None where it expects the same everywhere."""

    y_hat: Tensor
    likelihoods: dict[str, Tensor]
    importance: Tensor | None


@dataclass(frozen=True)
class EntropyParameters:
    """The prior of latents, as the decoder knows it too, all (C, rows, columns).

    mean: float32, a multiple of 2^-8; index: int32, of a table, times 2^8.
    """

    mean: Floats
    index: NDArray[np.int32]

    def part(self, rows: slice, columns: slice) -> "EntropyParameters":
        """A window of it."""
        return EntropyParameters(self.mean[:, rows, columns], self.index[:, rows, columns])


@dataclass(frozen=True)
class Prepared:
    """Latents ready to be rounded; a position's symbol s is decoded as (s + mean) · gain. All (C, rows, columns).

    residual: float32, what is rounded to symbols; mean, gain: float32; table: the table that codes the position; coded:
    False where nothing is coded and the symbol is 0. Of conditional latents only: r, the levels of the quality map; z, the
    symbols of the hyper-latent; prior, what both say of y.
    """

    residual: Floats
    mean: Floats
    gain: Floats
    table: NDArray[np.integer]
    coded: NDArray[np.bool_]
    r: Levels | None = None
    z: NDArray[np.int16] | None = None
    prior: EntropyParameters | None = None

    def symbols(self) -> NDArray[np.int16]:
        """The nearest symbols."""
        return rounded(np.where(self.coded, self.residual, 0))

    def part(self, rows: slice, columns: slice) -> "Prepared":
        """A window of it, without z; it starts at an even row and column, so that its halves are those of the whole."""
        assert rows.start % 2 == columns.start % 2 == 0
        window = (slice(None), rows, columns)
        return Prepared(
            np.ascontiguousarray(self.residual[window]),
            np.ascontiguousarray(self.mean[window]),
            np.ascontiguousarray(self.gain[window]),
            np.ascontiguousarray(self.table[window]),
            np.ascontiguousarray(self.coded[window]),
            r=None if self.r is None else self.r[rows, columns],
            prior=None if self.prior is None else self.prior.part(rows, columns),
        )


@dataclass(frozen=True)
class Decoded:
    """symbols: int16 (C, rows, columns), as coded; values: float32 of that shape, what g_s is given."""

    symbols: NDArray[np.int16]
    values: Floats


class LatentCodec(nn.Module, ABC):
    """One way of coding latents: a module while it trains, an entropy coder once it has tables.

    `forward` works at any time. `make_tables` ends the training; what it makes decides how symbols are decoded, and holds
    whole numbers alone as far as a choice of symbols goes. From then on, or after `set_tables`, the methods below it work.
    They run on the CPU, on the latents of one picture.
    """

    variable_rate = False
    """Whether it codes by a quality map r, so that one model has every rate."""

    noisy_decoder = False
    """While training: whether the decoder gets noise in place of rounded latents, where the codec leaves a choice."""

    coder: EntropyCoder
    """Of y, once there are tables."""

    @abstractmethod
    def forward(self, y: Tensor, r: Tensor | None) -> LatentOutput:
        """y `(B, C, h, w)`; r `(B, 1, h, w)`, 0 where it is None; codecs of one rate ignore it."""

    @abstractmethod
    def make_tables(self, latents: Iterable[tuple[Floats, Levels]]) -> dict[str, Tensor]:
        """The tables of the trained prior, int32 and float32 tensors by name, and `set_tables` of them.

        latents: y (C, h, w) of training patches, each with a quality map (h, w); they may be used to count symbols.
        Raises BalleLiError: a weight is not finite.
        """

    @abstractmethod
    def set_tables(self, tables: Mapping[str, Tensor]) -> None:
        """Code with these tables from now on. Raises BalleLiError: they are incomplete or do not fit the model."""

    @abstractmethod
    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        """What there is to code of y (C, rows, columns); r: levels (rows, columns), None for codecs of one rate."""

    @abstractmethod
    def requantized(self, prepared: Prepared, values: Floats) -> Prepared:
        """What there is to code when residual + mean is `values`, (C, rows, columns); the nearest symbols of one half of them
        may move mean and table of the other."""

    @abstractmethod
    def encode(self, prepared: Prepared) -> Sections:
        """The sections of a stream, that of the latents last."""

    @abstractmethod
    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Decoded:
        """Raises BitstreamError: a section is missing or damaged."""

    @abstractmethod
    def bits(self, prepared: Prepared) -> Floats:
        """What each position costs by the tables, (rows, columns)."""

    def importance(self, prepared: Prepared) -> Floats | None:
        """As `LatentOutput.importance`, (rows, columns)."""
        return None


def rounded(values: Floats) -> NDArray[np.int16]:
    """The nearest whole numbers, clipped to what a stream can hold."""
    return np.rint(values).clip(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL).astype(np.int16)
