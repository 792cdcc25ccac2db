"""The interface of latent codecs, as models, training and the codec use it; rounding, and its replacements in training."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.latents import Sections
from balle_li.latents.entropy_coder import MAX_ABSOLUTE_SYMBOL, EntropyCoder
from balle_li.quality_map import Levels

Floats = NDArray[np.float32]


class LatentOutput(NamedTuple):
    """y_hat: the input of g_s; likelihoods: of every coded latent by its name, fp32; importance: `(B, 1, h, w)` in [0, 1],
    the fraction of the bits that the prior expects at each place, None where it expects the same everywhere."""

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
        """A window of it, without z. It must start at multiples of the codec's `alignment`."""
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
    """symbols: int16 (C, rows, columns), as coded; values: float32 of that shape, the input of g_s."""

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

    multiple = 1
    """Rows and columns of the latents are multiples of this."""

    alignment = 1
    """A window of latents that starts at multiples of this is coded in the same order as the whole."""

    portable = True
    """Whether a stream decodes on every machine, whatever its processor and its number of threads."""

    adaptable = True
    """Whether latents can be adapted to one picture (`balle_li.codec.effort`), by `requantized` and the tables of `coder`."""

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

    def decoding_weights(self) -> dict[str, Tensor]:
        """The weights of its own state that decoding needs beside the tables."""
        return {}

    @abstractmethod
    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        """Prepare y (C, rows, columns) for rounding; r: levels (rows, columns), None for codecs of one rate."""

    @abstractmethod
    def requantized(self, prepared: Prepared, values: Floats) -> Prepared:
        """Prepare again, for residual + mean = `values` (C, rows, columns); the nearest symbols of those that are coded
        first may move mean and table of the others."""

    @abstractmethod
    def encode(self, prepared: Prepared) -> Sections:
        """The sections of a stream, that of the latents last."""

    @abstractmethod
    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Decoded:
        """Raises BitstreamError: a section is missing or damaged."""

    @abstractmethod
    def bits(self, prepared: Prepared) -> Floats:
        """Bits of each position by the tables, (rows, columns)."""

    def importance(self, prepared: Prepared) -> Floats | None:
        """As `LatentOutput.importance`, (rows, columns)."""
        return None


def rounded(values: Floats) -> NDArray[np.int16]:
    """The nearest whole numbers, clipped to what a stream can hold."""
    return np.rint(values).clip(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL).astype(np.int16)


class UniformNoise(nn.Module):
    """The additive-noise proxy: noise in [−½, ½], drawn so that several processes together draw what one would.

    process: (rank, processes), the process takes its part of the batch.
    """

    process: tuple[int, int] = (0, 1)

    def forward(self, like: Tensor) -> Tensor:
        """Noise, fp32, of the shape of `like` `(B, …)`."""
        rank, processes = self.process
        batch, *rest = like.shape
        noise = torch.empty(processes * batch, *rest, device=like.device).uniform_(-0.5, 0.5)
        return noise[rank * batch : (rank + 1) * batch]


def straight_through(values: Tensor) -> Tensor:
    """`values` rounded; the gradient passes as if they were not."""
    return values + (torch.round(values) - values).detach()


def bounded(values: Tensor, low: float, high: float = math.inf) -> Tensor:
    """`values` clamped to [low, high]. Outside, only gradients that lead back inside pass."""
    clamped: Tensor = _Clamp.apply(values, low, high)
    return clamped


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values < low, values > high)
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        below, above = ctx.saved_tensors  # type: ignore[attr-defined]
        leads_out = (below & (gradient > 0)) | (above & (gradient < 0))
        return gradient.masked_fill(leads_out, 0), None, None
