"""Entropy coding of integer latents with integer tables: asymmetric numeral systems, one call per table row.

docs/bitstream.md specifies the coded bytes; the `constriction` package does the arithmetic. That package takes
floating-point probabilities and rounds them to integers summing to 2^24 by

    cumulative(i) = floor(scale * sum of p_j for j < i) + i,   scale = (2^24 - n) / sum of all p_j

for n symbols. Given the whole numbers p_i = k_i - 1, where the k_i sum to 2^24, scale is exactly 1 and the model is
exactly k: no rounding takes part, on any machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from balle_li.errors import BalleLiError, BitstreamError

PRECISION = 16
MAX_PRECISION = 24
_NAMES = ("frequencies", "offset", "length")
MAX_ABSOLUTE_SYMBOL = 2**15 - 1  # latents are stored as 16-bit integers; larger values are clipped by the encoder

# The coder begins with this state and must return to it: with fewer bits, its first symbols would be coded at a cost
# unlike their probabilities, and a stream's length would say nothing about how many symbols it can hold.
_INITIAL_STATE = 2**31

# Fraction of a symbol's ideal cost that the coder spends at least, from this state on.
_LEAST_FRACTION = 0.99

_MAX_VARINT_BYTES = 5
_NOT_INT32 = "{}: frequencies, offset and length must be int32"
_WRONG_LENGTH = "the list of escape values has the wrong length; the stream is damaged"

Groups = Sequence[NDArray[np.integer]] | NDArray[np.integer]


def integer_frequencies(pmf: NDArray, length: NDArray, precision: int = PRECISION) -> NDArray[np.int32]:
    """Round probability rows to integer rows that sum to 2^precision exactly, every symbol's frequency at least 1.

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
    ideal = weights / total * free[:, None]
    frequencies = np.floor(ideal).astype(np.int64)
    remainder = np.where(used, ideal - frequencies, -1.0)
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
        if any(tables[name].dtype != torch.int32 for name in names):  # numpy has not all of torch's types
            raise BalleLiError(_NOT_INT32.format(f"tables.{latent}"))
        frequencies, offset, length = (tables[name].numpy(force=True) for name in names)
        return cls.from_arrays(frequencies, offset, length, PRECISION, f"tables.{latent}")

    @classmethod
    def from_arrays(
        cls, frequencies: NDArray, offset: NDArray, length: NDArray, precision: int, where: str
    ) -> "Tables":
        """Check and wrap the arrays. Raises BalleLiError naming `where`."""
        if any(array.dtype != np.int32 for array in (frequencies, offset, length)):
            raise BalleLiError(_NOT_INT32.format(where))
        if frequencies.ndim != 2 or offset.shape != frequencies.shape[:1] or length.shape != frequencies.shape[:1]:
            raise BalleLiError(f"{where}: frequencies must be (rows, L), offset and length (rows,)")
        if not len(length):
            raise BalleLiError(f"{where} has no row")
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

    mass: (rows, at least reach + 1), the probability of a value, and of its negative, by its distance from 0. escape, reach:
    (rows,). Rows need not be normalised.
    """
    values = np.arange(2 * reach.max() + 1) - reach[:, None]
    probabilities = np.take_along_axis(mass, np.minimum(np.abs(values), mass.shape[1] - 1), axis=1)
    pmf = np.zeros((len(reach), values.shape[1] + 1))
    pmf[:, :-1] = np.where(values <= reach[:, None], probabilities, 0.0)
    pmf[np.arange(len(reach)), 2 * reach + 1] = escape
    return table_tensors(latent, pmf, -reach, 2 * reach + 2)


def table_tensors(
    latent: str, pmf: NDArray[np.float64], offset: NDArray[np.integer], length: NDArray[np.integer]
) -> dict[str, Tensor]:
    """The tensors that `Tables.of` takes; pmf (rows, L), offset and length (rows,) as `integer_frequencies` has them."""
    arrays = integer_frequencies(pmf, length), offset.astype(np.int32), length.astype(np.int32)
    return {f"{latent}.{name}": torch.from_numpy(array) for name, array in zip(_NAMES, arrays, strict=True)}


class EntropyCoder:
    """Codes groups of integers: group c, (n_c,), follows row c of `tables`. An array (rows, n) is such groups."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.models = [
            constriction.stream.model.Categorical(_weights(tables, row), perfect=False) for row in range(tables.rows)
        ]
        self._costs = tables.bits()
        self.least_bits = _LEAST_FRACTION * self._costs.min(axis=1)

    def encode(self, *parts: Groups) -> tuple[bytes, bytes]:
        """Code the groups of one part after the other, clipped to 16 bits; returns the coded symbols and the escape values."""
        coder = constriction.stream.stack.AnsCoder(np.array([_INITIAL_STATE], dtype=np.uint32))
        escape_values = []
        for groups in reversed(parts):  # a stack: what is coded last is decoded first
            counts = np.array([len(group) for group in groups])
            symbols, escaped = self._symbols(np.concatenate(groups), np.repeat(np.arange(len(counts)), counts))
            by_row = _split(symbols, counts)
            for row in reversed(np.flatnonzero(counts)):
                coder.encode_reverse(by_row[row], self.models[row])
            escape_values.append(escaped)
        words = coder.get_compressed().astype("<u4")
        return words.tobytes().rstrip(b"\0"), _pack_varints(
            np.concatenate(escape_values[::-1] or [np.empty(0, np.uint32)])
        )

    def decode(self, coded: bytes, escaped: bytes, counts: int | NDArray[np.integer]) -> list[NDArray[np.int16]]:
        """Decode the groups that `encode` took as its one part. counts: their lengths (rows,), or one for all.

        Raises BitstreamError when the bytes cannot be such a coding.
        """
        decoder = Decoder(self, coded, escaped)
        groups = decoder.part(counts)
        decoder.finish()
        return groups

    def bits(self, groups: Groups) -> list[NDArray[np.float32]]:
        """Bits that each value costs by the tables, or as an escape value."""
        costs = []
        for row in range(self.tables.rows):
            symbols, escaped = self._symbols(groups[row], row)
            bits = self._costs[row, symbols]
            bits[symbols == self.tables.length[row] - 1] += 8 * _varint_bytes(escaped)
            costs.append(bits.astype(np.float32))
        return costs

    def _symbols(
        self, values: NDArray[np.integer], row: int | NDArray[np.integer]
    ) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
        """Table symbols (n,) of values, and the codes of those that had to be escaped. row: of all, or of each (n,)."""
        escape = np.broadcast_to(self.tables.length[row] - 1, values.shape)
        symbols = np.clip(values, -MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL).astype(np.int32) - self.tables.offset[row]
        inside = (symbols >= 0) & (symbols < escape)
        distances = symbols[~inside]
        codes = np.where(distances < 0, -2 * distances - 1, 2 * (distances - escape[~inside])).astype(np.uint32)
        return np.where(inside, symbols, escape).astype(np.int32), codes

    def escaped_values(self, codes: NDArray[np.int64], row: int) -> NDArray[np.int64]:
        escape = self.tables.length[row] - 1
        symbols = np.where(codes % 2 == 1, -(codes + 1) // 2, codes // 2 + escape)
        values = symbols + self.tables.offset[row]
        if len(values) and np.abs(values).max() > MAX_ABSOLUTE_SYMBOL:
            raise BitstreamError("a latent is out of range; the stream is damaged")
        return values


class Decoder:
    """Decodes what `EntropyCoder.encode` made, part by part, so that one part may say how the next one is coded.

    Raises BitstreamError, as its methods do: the bytes cannot be such a coding.
    """

    def __init__(self, coder: EntropyCoder, coded: bytes, escaped: bytes) -> None:
        words = np.frombuffer(coded + bytes(-len(coded) % 4), dtype="<u4").astype(np.uint32)
        if not len(words) or words[-1] == 0:
            raise BitstreamError("the coded latents are empty or end in zeros; the stream is damaged")
        self._coder, self._stack = coder, constriction.stream.stack.AnsCoder(words)
        self._bits, self._least_bits = 8 * len(coded), 0.0
        self._codes, self._taken = _unpack_varints(escaped), 0

    def part(self, counts: int | NDArray[np.integer]) -> list[NDArray[np.int16]]:
        """Decode the groups of the next part. counts: their lengths (rows,), or one for all."""
        counts = np.broadcast_to(counts, self._coder.tables.rows)
        self._least_bits += float(counts @ self._coder.least_bits)
        if self._least_bits > self._bits:
            raise BitstreamError("the stream is too short for a picture of its size; it is damaged")
        return [self._group(row, int(count)) for row, count in enumerate(counts)]

    def finish(self) -> None:
        """Check that all has been decoded."""
        if self._stack.get_compressed().tolist() != [_INITIAL_STATE]:
            raise BitstreamError("the coded latents do not end where the picture does; the stream is damaged")
        if self._taken != len(self._codes):
            raise BitstreamError(_WRONG_LENGTH)

    def _group(self, row: int, count: int) -> NDArray[np.int16]:
        if not count:
            return np.empty(0, np.int16)
        tables = self._coder.tables
        symbols = self._stack.decode(self._coder.models[row], count)
        group = (symbols + tables.offset[row]).astype(np.int16)
        escaped = np.flatnonzero(symbols == tables.length[row] - 1)
        if len(escaped):
            codes = self._codes[self._taken : self._taken + len(escaped)]
            if len(codes) < len(escaped):
                raise BitstreamError(_WRONG_LENGTH)
            self._taken += len(escaped)
            group[escaped] = self._coder.escaped_values(codes, row)
        return group


class ByTable:
    """Symbols grouped by table: their positions by table, then in the order of the array.

    table: of each symbol, of any shape, below `rows`. coded: of that shape, the positions that count, all where it is None.
    """

    def __init__(self, table: NDArray[np.integer], rows: int, coded: NDArray[np.bool_] | None = None) -> None:
        self._shape = table.shape
        flat = table.reshape(-1)
        positions = np.arange(flat.size) if coded is None else np.flatnonzero(coded)
        self.counts = np.bincount(flat[positions], minlength=rows)
        self._positions = positions[np.argsort(flat[positions], kind="stable")]

    def groups(self, values: NDArray[np.int16]) -> list[NDArray[np.int16]]:
        """The values, of the tables' shape, of each table."""
        return _split(values.reshape(-1)[self._positions], self.counts)

    def scattered(self, groups: list[NDArray[Any]]) -> NDArray[Any]:
        """The values of `groups` in their places, 0 elsewhere."""
        values = np.concatenate(groups)
        flat = np.zeros(int(np.prod(self._shape)), values.dtype)
        flat[self._positions] = values
        return flat.reshape(self._shape)


def _split(values: NDArray[Any], counts: NDArray[np.integer]) -> list[NDArray[Any]]:
    """Values (n,) in groups of these lengths, most of which may be 0: `numpy.split` takes longer."""
    groups = [values[:0]] * len(counts)
    ends = np.cumsum(counts)
    for row in np.flatnonzero(counts):
        groups[row] = values[ends[row] - counts[row] : ends[row]]
    return groups


def _weights(tables: Tables, row: int) -> NDArray[np.float64]:
    frequencies = tables.frequencies[row, : tables.length[row]].astype(np.int64) << (MAX_PRECISION - tables.precision)
    return (frequencies - 1).astype(np.float64)


def _varint_bytes(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    places = 7 * np.arange(1, _MAX_VARINT_BYTES)[:, None]
    return 1 + np.count_nonzero(codes >> places, axis=0)


def _pack_varints(codes: NDArray[np.uint32]) -> bytes:
    """Little-endian base-128 numbers, the high bit set on all bytes but the last."""
    if not len(codes):
        return b""
    size = _varint_bytes(codes)[:, None]
    place = np.arange(_MAX_VARINT_BYTES)
    digits = (codes.astype(np.uint64)[:, None] >> (7 * place).astype(np.uint64)) & np.uint64(127)
    more = np.where(place < size - 1, 128, 0).astype(np.uint64)
    return (digits | more)[place < size].astype(np.uint8).tobytes()


def _unpack_varints(data: bytes) -> NDArray[np.int64]:
    octets = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(octets < 128)
    sizes = np.diff(ends, prepend=-1)
    if sizes.sum() != len(octets):
        raise BitstreamError(_WRONG_LENGTH)
    if (sizes > _MAX_VARINT_BYTES).any():
        raise BitstreamError("a latent is out of range; the stream is damaged")
    starts = ends - sizes + 1
    place = np.arange(len(octets)) - np.repeat(starts, sizes)
    digits = (octets & 127).astype(np.int64) << (7 * place)
    return np.add.reduceat(digits, starts) if len(starts) else digits
