"""The map z of a conditional model, and the means and scales that it and the importance r give every latent."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from balle_li.codec.integer_network import FRACTION, LIMIT, IntegerNetwork
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.networks import build_network
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL
from balle_li.codec.tiles import inputs_of, tiles, within
from balle_li.importance import STEPS, Levels

_TILE = 128  # latents; even


@dataclass(frozen=True)
class EntropyParameters:
    """mean: float32 (M, rows, columns), a multiple of 2^-8; index: uint8 (M, rows, columns), a row of the tables of y."""

    mean: NDArray[np.float32]
    index: NDArray[np.uint8]


class SideInformation:
    """h_a, which an encoder runs in fp32, and h_s, which both ends run in whole numbers; always on the CPU."""

    def __init__(self, model: ModelFolder) -> None:
        self._h_a_layers = model.network("h_a")
        self._h_a = build_network(self._h_a_layers, model.weights("h_a"), torch.device("cpu"), torch.float32)
        self._h_s = IntegerNetwork(model.description["integer_networks"]["h_s"], model.weights("h_s"))
        self._median = model.tensors["tables.z.median"].cpu()[:, None, None]
        self._indices = model.tables("y").rows

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
        entering = self._entering(z, levels)
        made: EntropyParameters | None = None
        for row, column in tiles(rows, columns, _TILE):
            top, left = (
                inputs_of(self._h_s.layers, span, side) for span, side in ((row, z.shape[1]), (column, z.shape[2]))
            )
            out = self._h_s(entering[None, :, top, left])[0, :, within(row, top, 2), within(column, left, 2)]
            mean, index = out.chunk(2)
            if made is None:
                shape = len(mean), rows, columns
                made = EntropyParameters(np.empty(shape, np.float32), np.empty(shape, np.uint8))
            made.mean[:, row, column] = (mean / FRACTION).numpy()
            whole = torch.floor((index + FRACTION // 2) / FRACTION).clamp_(0, self._indices - 1)
            made.index[:, row, column] = whole.to(torch.uint8).numpy()
        assert made is not None
        return made

    def _entering(self, z: NDArray[np.int16], levels: Levels) -> Tensor:
        """z and under each of its values the four levels of r, times 2^8: (channels + 4, ⌈rows/2⌉, ⌈columns/2⌉)."""
        symbols = (torch.from_numpy(z).double() + self._median.double()) * FRACTION
        rows, columns = z.shape[1:]
        even = torch.from_numpy(_window(levels[None], slice(0, 2 * rows), slice(0, 2 * columns))).double()
        r = functional.pixel_unshuffle(even * (FRACTION // STEPS), 2)
        return torch.cat((symbols.clamp_(-LIMIT, LIMIT), r))


def _window(values: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """A part of (C, h, w); past its end, which is one row or column at most, the last one is repeated."""
    part = values[:, rows, columns]
    below, beside = rows.stop - rows.start - part.shape[1], columns.stop - columns.start - part.shape[2]
    return np.pad(part, ((0, 0), (0, below), (0, beside)), mode="edge") if below or beside else part.copy()
