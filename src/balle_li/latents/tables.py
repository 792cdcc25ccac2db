"""Integer probability tables: the only numbers that decide how a symbol is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from balle_li.errors import BalleLiError

PRECISION = 16
MAX_PRECISION = 24
_NAMES = ("frequencies", "offset", "length")
MAX_ABSOLUTE_SYMBOL = 2**15 - 1  # latents are stored as 16-bit integers; larger values are clipped by the encoder


def integer_frequencies(pmf: NDArray, length: NDArray, precision: int = PRECISION) -> NDArray[np.int32]:
    """Round probability rows to integer rows that sum to 2^precision exactly, every symbol's share at least 1.

    pmf: (C, L) non-negative floats, row c used up to `length[c]` (C,), at least 2; the last symbol used is the escape,
    its entry the probability of every value outside the table. Rows need not be normalised.
    Returns int32 (C, L), zero beyond each row's length; the largest-remainder method decides where the rest goes.

    Raises BalleLiError: a row is negative, not finite, all zero, or longer than 2^precision.
    """
    pmf, length = np.asarray(pmf, dtype=np.float64), np.asarray(length, dtype=np.int64)
    used = np.arange(pmf.shape[1]) < length[:, None]
    if not np.isfinite(pmf[used]).all() or (pmf[used] < 0).any():
        raise BalleLiError("a probability table holds a negative or non-finite number; the model's training diverged")
    if (length < 2).any() or (length > pmf.shape[1]).any() or (length > 2**precision).any():
        raise BalleLiError(f"a probability table must have between 2 and {min(pmf.shape[1], 2**precision)} symbols")
    weights = np.where(used, pmf, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise BalleLiError("a probability table is all zero; the model's training diverged")
    free = 2**precision - length  # what is left once every symbol has its 1
    share = weights / total * free[:, None]
    frequencies = np.floor(share).astype(np.int64)
    remainder = np.where(used, share - frequencies, -1.0)
    rank = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1, kind="stable")
    frequencies += rank < (free - frequencies.sum(axis=1))[:, None]
    return np.where(used, frequencies + 1, 0).astype(np.int32)


@dataclass(frozen=True)
class Tables:
    """The tables of one latent: row c gives symbol s of value offset[c] + s the probability frequencies[c, s] / 2^precision.

    frequencies: int32 (rows, L); offset, length: int32 (rows,). Symbol length[c] − 1 is the escape of row c.
    """

    frequencies: NDArray[np.int32]
    offset: NDArray[np.int32]
    length: NDArray[np.int32]
    precision: int

    @classmethod
    def of(cls, latent: str, tables: Mapping[str, Tensor]) -> "Tables":
        """Check and wrap `<latent>.frequencies`, `.offset` and `.length` of a model. Raises BalleLiError."""
        names = [f"{latent}.{name}" for name in _NAMES]
        missing = [name for name in names if name not in tables]
        if missing:
            raise BalleLiError(f"tables.{missing[0]} is missing")
        frequencies, offset, length = (tables[name].numpy(force=True) for name in names)
        return cls.from_arrays(frequencies, offset, length, PRECISION, f"tables.{latent}")

    @classmethod
    def from_arrays(
        cls, frequencies: NDArray, offset: NDArray, length: NDArray, precision: int, where: str
    ) -> "Tables":
        """Check and wrap the arrays. Raises BalleLiError naming `where`."""
        if any(array.dtype != np.int32 for array in (frequencies, offset, length)):
            raise BalleLiError(f"{where}: frequencies, offset and length must be int32")
        if frequencies.ndim != 2 or offset.shape != frequencies.shape[:1] or length.shape != frequencies.shape[:1]:
            raise BalleLiError(f"{where}: frequencies must be (rows, L), offset and length (rows,)")
        if not 1 <= precision <= MAX_PRECISION:
            raise BalleLiError(f"{where}: precision must be 1 to {MAX_PRECISION}, not {precision}")
        if (length < 2).any() or (length > frequencies.shape[1]).any():
            raise BalleLiError(f"{where}: a row's length must be between 2 and {frequencies.shape[1]}")
        used = np.arange(frequencies.shape[1]) < length[:, None]
        sums = frequencies.sum(axis=1, where=used, dtype=np.int64)
        if (frequencies[used] < 1).any() or (sums != 2**precision).any():
            raise BalleLiError(f"{where}: every frequency must be at least 1 and every row must sum to 2^{precision}")
        if np.abs(offset.astype(np.int64)).max() + frequencies.shape[1] > MAX_ABSOLUTE_SYMBOL:
            raise BalleLiError(f"{where}: values must lie within ±{MAX_ABSOLUTE_SYMBOL}")
        return cls(frequencies, offset, length, precision)

    @property
    def rows(self) -> int:
        return len(self.length)

    def bits(self) -> NDArray[np.float64]:
        """Bits that each symbol costs, (rows, L); infinite beyond a row's length."""
        with np.errstate(divide="ignore"):
            return self.precision - np.log2(np.maximum(self.frequencies, 0))


def symmetric_tables(
    latent: str, mass: NDArray[np.float64], escape: NDArray[np.float64], reach: NDArray[np.int64]
) -> dict[str, Tensor]:
    """The tensors `<latent>.frequencies`, `.offset` and `.length` of the whole numbers from −reach to reach, and the escape.

    mass: (rows, at least reach + 1), the share of a value, and of its negative, by its distance from 0. escape, reach:
    (rows,). Rows need not be normalised.
    """
    values = np.arange(2 * reach.max() + 1) - reach[:, None]
    shares = np.take_along_axis(mass, np.minimum(np.abs(values), mass.shape[1] - 1), axis=1)
    pmf = np.zeros((len(reach), values.shape[1] + 1))
    pmf[:, :-1] = np.where(values <= reach[:, None], shares, 0.0)
    pmf[np.arange(len(reach)), 2 * reach + 1] = escape
    return table_tensors(latent, pmf, -reach, 2 * reach + 2)


def table_tensors(
    latent: str, pmf: NDArray[np.float64], offset: NDArray[np.integer], length: NDArray[np.integer]
) -> dict[str, Tensor]:
    """The tensors that `Tables.of` takes; pmf (rows, L), offset and length (rows,) as `integer_frequencies` has them."""
    arrays = integer_frequencies(pmf, length), offset.astype(np.int32), length.astype(np.int32)
    return {f"{latent}.{name}": torch.from_numpy(array) for name, array in zip(_NAMES, arrays, strict=True)}
