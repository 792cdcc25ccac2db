"""The hyper-latent z, coded row by row: a value's table is that of its channel and of the value above it."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from balle_li.errors import BalleLiError
from balle_li.latents.base import Floats
from balle_li.latents.entropy_coder import ByTable, Decoder, EntropyCoder, Tables, table_tensors
from balle_li.latents.factorized import FactorizedPrior

REACH = 8  # values above that are further from 0 share a class
CLASSES = 2 * REACH + 2  # of the value above; the last is that of the first row
_PSEUDO_COUNT = 8.0  # symbols that every empirical PMF is taken to have seen, of the distribution behind it

Symbols = NDArray[np.int16]


class HyperLatentCoder:
    """Codes z (C, h, w). `tables.z` has CLASSES rows for each channel.

    Where a picture is smooth z repeats itself, so that values cost next to nothing; elsewhere it is some 10 % shorter than by
    one table a channel. The rows' tables are chosen by whole numbers: streams decode on every machine.
    """

    def __init__(self, prior: FactorizedPrior, tables: Mapping[str, Tensor]) -> None:
        own = Tables.of("z", tables)
        if own.rows != CLASSES * prior.channels:
            raise BalleLiError(f"tables.z has {own.rows} rows, must have {CLASSES * prior.channels}")
        prior.set_median("z", tables)
        self._coder, self._channels = EntropyCoder(own), prior.channels

    def encode(self, z: Symbols) -> tuple[bytes, bytes]:
        """The coded symbols, and the escape values."""
        return self._coder.encode(*(self._order(z, row).groups(z[:, row]) for row in range(z.shape[1])))

    def decode(self, coded: bytes, escaped: bytes, height: int, width: int) -> Symbols:
        """z (C, height, width). Raises BitstreamError: the bytes cannot be such a coding."""
        z = np.zeros((self._channels, height, width), np.int16)
        decoder = Decoder(self._coder, coded, escaped)
        for row in range(height):
            order = self._order(z, row)
            z[:, row] = order.scattered(decoder.part(order.counts))
        decoder.finish()
        return z

    def bits(self, z: Symbols) -> Floats:
        """What each position costs, (h, w)."""
        orders = [self._order(z, row) for row in range(z.shape[1])]
        costs = (order.scattered(self._coder.bits(order.groups(z[:, row]))) for row, order in enumerate(orders))
        return np.stack([cost.sum(axis=0) for cost in costs])

    def _order(self, z: Symbols, row: int) -> ByTable:
        """The order of a row's values: by table, then by channel and column."""
        return ByTable(tables_of(z, row), self._coder.tables.rows)


def tables_of(z: Symbols, row: int) -> NDArray[np.int64]:
    """The table of each value in a row of z (C, h, w), which the row above alone decides: (C, w)."""
    above = np.full(z[:, 0].shape, REACH + 1) if row == 0 else z[:, row - 1].clip(-REACH, REACH)
    return above.astype(np.int64) + REACH + CLASSES * np.arange(len(z))[:, None]


def hyper_latent_tables(prior: dict[str, Tensor], coded: Iterable[Symbols]) -> dict[str, Tensor]:
    """Empirical PMFs of every channel and class, counted in z (C, h, w) of pictures.

    prior: a table for each channel, as `FactorizedPrior.tables` makes them. What was seen seldom follows the channel's own
    empirical PMF, and that one the prior.
    """
    frequencies, offset, length = (prior[f"z.{name}"].numpy() for name in ("frequencies", "offset", "length"))
    channels, width = frequencies.shape
    seen = np.zeros((channels * CLASSES, width))
    last = length.repeat(CLASSES) - 1  # the escape
    for z in coded:
        for row in range(z.shape[1]):
            table = tables_of(z, row)
            symbol = z[:, row] - offset[:, None]
            inside = (symbol >= 0) & (symbol < last[table])
            np.add.at(seen, (table, np.where(inside, symbol, last[table])), 1)
    seen = seen.reshape(channels, CLASSES, width)
    behind = seen.sum(axis=1) + _PSEUDO_COUNT * frequencies / frequencies.sum(axis=1, keepdims=True)
    pmf = seen + _PSEUDO_COUNT * (behind / behind.sum(axis=1, keepdims=True))[:, None]
    repeated = offset.repeat(CLASSES), length.repeat(CLASSES)
    return prior | table_tensors("z", pmf.reshape(-1, width), *repeated)
