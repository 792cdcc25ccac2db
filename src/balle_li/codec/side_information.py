"""The map z of a conditional model, and what it, the importance r and decoded neighbours say of a latent beforehand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from balle_li.codec.integer_network import FRACTION, LIMIT, IntegerNetwork
from balle_li.codec.layers import channels_in, channels_out
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.networks import build_network
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL
from balle_li.codec.tiles import inputs_of, tiles, within
from balle_li.importance import STEPS, Levels

_TILE = 128  # latents; even


@dataclass(frozen=True)
class EntropyParameters:
    """mean: float32 (M, rows, columns), a multiple of 2^-8; index: int32 (M, rows, columns), of a table, times 2^8."""

    mean: NDArray[np.float32]
    index: NDArray[np.int32]

    def tables(self, count: int) -> NDArray[np.uint8]:
        """The nearest of `count` tables, (M, rows, columns)."""
        return ((self.index + FRACTION // 2) // FRACTION).clip(0, count - 1).astype(np.uint8)

    def part(self, rows: slice, columns: slice) -> "EntropyParameters":
        """A window of it."""
        return EntropyParameters(self.mean[:, rows, columns], self.index[:, rows, columns])


class SideInformation:
    """h_a, which an encoder runs in fp32, and h_s and h_c, which both ends run in whole numbers; always on the CPU.

    has_context: whether there is h_c, so that latents are coded in two halves.
    """

    def __init__(self, model: ModelFolder) -> None:
        self._h_a_layers = model.network("h_a")
        self._h_a = build_network(self._h_a_layers, model.weights("h_a"), torch.device("cpu"), torch.float32)
        integers = model.description["integer_networks"]
        self._h_s = IntegerNetwork(integers["h_s"], model.weights("h_s"))
        self.has_context = "h_c" in integers
        self._h_c = IntegerNetwork(integers.get("h_c", []), model.weights("h_c"))
        self._median = model.tensors["tables.z.median"].cpu()[:, None, None]

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of z for so many of y."""
        return -(-rows // 2), -(-columns // 2)

    @torch.inference_mode()
    def analyse(self, u: NDArray[np.float32], levels: Levels) -> NDArray[np.int16]:
        """The symbols of z (channels, ⌈rows/2⌉, ⌈columns/2⌉) of u (M, rows, columns)."""
        rows, columns = self.grid(*levels.shape)
        z = np.empty((len(self._median), rows, columns), np.int16)
        for row, column in tiles(rows, columns, _TILE // 2):
            top, left = (
                inputs_of(self._h_a_layers, span, 2 * n, unit=2) for span, n in ((row, rows), (column, columns))
            )
            window = torch.from_numpy(_window(u, top, left))
            r = torch.from_numpy(_window(levels[None], top, left)).float() / STEPS
            values = self._h_a(torch.cat((window, r))[None])[0, :, within(row, top, 1, 2), within(column, left, 1, 2)]
            symbols = torch.round(values - self._median).clamp_(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL)
            z[:, row, column] = symbols.to(torch.int16).numpy()
        return z

    @torch.inference_mode()
    def parameters(self, z: NDArray[np.int16], levels: Levels) -> EntropyParameters:
        """What h_s makes of the symbols of z and r: the same on every machine."""
        rows, columns = levels.shape
        shape = (channels_out(self._h_s.layers) or 0) // 2, rows, columns
        made = EntropyParameters(np.empty(shape, np.float32), np.empty(shape, np.int32))
        entering = self._entering(z, levels)
        for row, column in tiles(rows, columns, _TILE):
            top, left = (
                inputs_of(self._h_s.layers, span, side) for span, side in ((row, z.shape[1]), (column, z.shape[2]))
            )
            out = self._h_s(entering[None, :, top, left])[0, :, within(row, top, 2), within(column, left, 2)]
            mean, index = out.chunk(2)
            made.mean[:, row, column] = (mean / FRACTION).numpy()
            made.index[:, row, column] = index.numpy()
        return made

    @torch.inference_mode()
    def with_context(self, foretold: EntropyParameters, symbols: NDArray[np.int16]) -> EntropyParameters:
        """`foretold` by z and r, and in the second half changed by what h_c makes of the first half's symbols.

        symbols: (M, rows, columns); those of the second half do not count.
        """
        channels = channels_in(self._h_c.layers) or 0
        _, rows, columns = symbols.shape
        second = second_half(rows, columns)
        first = np.where(second, 0, symbols[:channels])
        made = EntropyParameters(foretold.mean.copy(), foretold.index.copy())
        for row, column in tiles(rows, columns, _TILE):
            top, left = (inputs_of(self._h_c.layers, span, side) for span, side in ((row, rows), (column, columns)))
            entering = torch.from_numpy(first[:, top, left]).double() * FRACTION
            out = self._h_c(entering[None])[0, :, within(row, top), within(column, left)]
            more_mean, more_index = (out * torch.from_numpy(second[row, column])).chunk(2)
            made.mean[:, row, column] += (more_mean / FRACTION).numpy()
            made.index[:, row, column] += more_index.int().numpy()
        return made

    def _entering(self, z: NDArray[np.int16], levels: Levels) -> Tensor:
        """z and under each of its values the four levels of r, times 2^8: (channels + 4, ⌈rows/2⌉, ⌈columns/2⌉)."""
        symbols = (torch.from_numpy(z).double() + self._median.double()) * FRACTION
        rows, columns = z.shape[1:]
        even = torch.from_numpy(_window(levels[None], slice(0, 2 * rows), slice(0, 2 * columns))).double()
        r = functional.pixel_unshuffle(even * (FRACTION // STEPS), 2)
        return torch.cat((symbols.clamp_(-LIMIT, LIMIT), r))


def second_half(rows: int, columns: int) -> NDArray[np.bool_]:
    """(rows, columns), True where row and column add up to an odd number: the positions that are coded last."""
    return (np.arange(rows)[:, None] + np.arange(columns)) % 2 == 1


def _window(values: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """A part of (C, h, w); past its end, which is one row or column at most, the last one is repeated."""
    part = values[:, rows, columns]
    below, beside = rows.stop - rows.start - part.shape[1], columns.stop - columns.start - part.shape[2]
    return np.pad(part, ((0, 0), (0, below), (0, beside)), mode="edge") if below or beside else part.copy()
