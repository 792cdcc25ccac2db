"""The hyper-latent z and which of its positions are quiet, coded row by row by tables that what came before decides."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from balle_li.errors import BalleLiError
from balle_li.latents.base import Floats
from balle_li.latents.entropy_coder import ByTable, Decoder, EntropyCoder, Tables, table_tensors
from balle_li.latents.factorized import FactorizedPrior

REACH = 8  # values before that are further from 0 share a class
_VALUES = 2 * REACH + 1
CLASSES = 3 * _VALUES + 1  # by the value before, and by what was settled; the last is that of the first position
_PSEUDO_COUNT = 8.0  # symbols that every empirical PMF is taken to have seen, of the distribution behind it

Symbols = NDArray[np.int16]


class HyperLatentCoder:
    """Codes z (C, h, w) and `quiet` (h, w), 0 or 1, as one more channel. `tables.z` has CLASSES rows for each channel.

    Under a quiet position all symbols of y are 0, and none is coded. Where a picture is smooth, z and quiet repeat
    themselves, so that they cost next to nothing; elsewhere z is some 10 % shorter than by one table a channel. The rows'
    tables are chosen by whole numbers: streams decode on every machine.
    """

    def __init__(self, prior: FactorizedPrior, tables: Mapping[str, Tensor]) -> None:
        own, self._channels = Tables.of("z", tables), prior.channels + 1
        if own.rows != CLASSES * self._channels:
            raise BalleLiError(f"tables.z has {own.rows} rows, must have {CLASSES * self._channels}")
        prior.set_median("z", tables)
        self._coder = EntropyCoder(own)

    def encode(self, z: Symbols, quiet: NDArray[np.bool_]) -> tuple[bytes, bytes]:
        """The coded symbols, and the escape values."""
        values = with_quiet(z, quiet)
        groups = (self._order(values, part).groups(values[:, *part]) for part in parts_of(*quiet.shape))
        return self._coder.encode(*groups)

    def decode(self, coded: bytes, escaped: bytes, height: int, width: int) -> tuple[Symbols, NDArray[np.bool_]]:
        """z (C, height, width) and quiet. Raises BitstreamError: the bytes cannot be such a coding."""
        values = np.zeros((self._channels, height, width), np.int16)
        decoder = Decoder(self._coder, coded, escaped)
        for part in parts_of(height, width):
            order = self._order(values, part)
            values[:, *part] = order.scattered(decoder.part(order.counts))
        decoder.finish()
        return values[:-1], values[-1] != 0

    def bits(self, z: Symbols, quiet: NDArray[np.bool_]) -> Floats:
        """What each position costs, (h, w)."""
        values, costs = with_quiet(z, quiet), np.zeros(quiet.shape, np.float32)
        for part in parts_of(*quiet.shape):
            order = self._order(values, part)
            costs[part] = order.scattered(self._coder.bits(order.groups(values[:, *part]))).sum(axis=0)
        return costs

    def _order(self, values: Symbols, part: tuple[int, slice]) -> ByTable:
        """The order of a part's values: by table, then by channel and column."""
        return ByTable(tables_of(values, part), self._coder.tables.rows)


def with_quiet(z: Symbols, quiet: NDArray[np.bool_]) -> Symbols:
    """z with quiet as its last channel, (C + 1, h, w)."""
    return np.concatenate((z, quiet[None].astype(np.int16)))


def parts_of(height: int, width: int) -> Iterator[tuple[int, slice]]:
    """What is coded together, as row and columns: the positions of the first row one by one, then every row as a whole."""
    yield from ((0, slice(column, column + 1)) for column in range(width))
    yield from ((row, slice(0, width)) for row in range(1, height))


def tables_of(values: Symbols, part: tuple[int, slice]) -> NDArray[np.int64]:
    """The table of each value in a part of z and quiet (C + 1, h, w), which the parts before decide: (C + 1, w).

    The value before is the one above, in the first row that to the left. It is settled if both of its neighbours in
    its row have the same value, in the first row that to its left; what lies beyond the edge counts as the same. Where
    that holds for all channels of z, the picture is smooth or flat, and nearly everything repeats.
    """
    row, columns = part
    channels = np.arange(len(values))[:, None]
    if row > 0:
        before = values[:, row - 1]
        wide = np.pad(before, ((0, 0), (1, 1)), mode="edge")
        settled = (wide[:, :-2] == before) & (before == wide[:, 2:])
    elif columns.start > 0:
        before = values[:, 0, columns.start - 1 : columns.start]
        settled = before == values[:, 0, max(0, columns.start - 2), None]
    else:
        return CLASSES * channels + CLASSES - 1
    smoothness = settled.astype(np.int64) + settled[:-1].all(axis=0)
    return CLASSES * channels + _VALUES * smoothness + REACH + before.clip(-REACH, REACH)


def hyper_latent_tables(prior: dict[str, Tensor], coded: Iterable[Symbols]) -> dict[str, Tensor]:
    """Empirical PMFs of every channel and class, counted in z and quiet (C + 1, h, w) of pictures.

    prior: a table for each channel of z, as `FactorizedPrior.tables` makes them. What was seen seldom follows the channel's
    own empirical PMF, and that one the prior; quiet and not quiet are taken to be equally likely.
    """
    frequencies, offset, length = (prior[f"z.{name}"].numpy() for name in ("frequencies", "offset", "length"))
    width = max(3, frequencies.shape[1])
    frequencies = np.pad(frequencies, ((0, 1), (0, width - frequencies.shape[1])))
    frequencies[-1, :3] = frequencies[0].sum() // 2, frequencies[0].sum() // 2, 1
    offset, length = np.append(offset, 0), np.append(length, 3)
    channels = len(frequencies)
    seen = np.zeros((channels * CLASSES, width))
    last = length.repeat(CLASSES) - 1  # the escape
    for values in coded:
        for part in parts_of(*values.shape[1:]):
            table = tables_of(values, part)
            symbol = values[:, *part] - offset[:, None]
            inside = (symbol >= 0) & (symbol < last[table])
            np.add.at(seen, (table, np.where(inside, symbol, last[table])), 1)
    seen = seen.reshape(channels, CLASSES, width)
    behind = seen.sum(axis=1) + _PSEUDO_COUNT * frequencies / frequencies.sum(axis=1, keepdims=True)
    pmf = seen + _PSEUDO_COUNT * (behind / behind.sum(axis=1, keepdims=True))[:, None]
    return prior | table_tensors("z", pmf.reshape(-1, width), offset.repeat(CLASSES), length.repeat(CLASSES))
