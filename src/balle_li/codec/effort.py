"""Encoder effort: latents adapted to the one picture that is being coded. Decoders know nothing of it.

Campos et al. (2019), "Content adaptive optimization for neural image compression": steps down the gradient of
J = bits + lmbda · 4^r · squared errors, with rounding that passes gradients straight through.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from balle_li.codec.latents import Prepared
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL, Tables
from balle_li.codec.tiles import Progress, tiles

MAX_EFFORT = 10
_STEPS_PER_EFFORT = 10
_REACH = 0.3  # of Adam in all its steps, in steps of the quantizer: further than that latents go round in circles
_TILE, _MARGIN = 48, 4  # latents; what lies in the margin is adapted with a tile, but kept as its own tile has it

Synthesis = Callable[[Tensor], Tensor]


def adapt(
    prepared: Prepared,
    tables: Tables,
    rgb: NDArray[np.uint8],
    weight: NDArray[np.float32],
    synthesis: Synthesis,
    effort: int,
    progress: Progress | None,
) -> NDArray[np.int16]:
    """The symbols (C, rows, columns) to code in place of `prepared.symbols()`; of no tile is J higher.

    rgb: (H, W, 3). weight: (rows, columns), bits that a squared error of 1 is worth, on the 0–255 scale, summed over the
    three channels and the pixels of a latent. synthesis: y_hat (1, C, h, w) to pixels (1, 3, h·d, w·d), 0 to 255,
    differentiable. effort: 1 to MAX_EFFORT.
    """
    symbols = prepared.symbols()
    _, rows, columns = symbols.shape
    for row, column in tiles(rows, columns, _TILE, progress):
        window = tuple(
            slice(max(0, span.start - _MARGIN), min(count, span.stop + _MARGIN))
            for span, count in ((row, rows), (column, columns))
        )
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip((row, column), window, strict=True))
        tile = _Tile(prepared.part(*window), tables, rgb, weight, window, synthesis)
        symbols[:, row, column] = tile.adapted(effort * _STEPS_PER_EFFORT)[:, *inner]
    return symbols


class _Tile:
    def __init__(
        self,
        prepared: Prepared,
        tables: Tables,
        rgb: NDArray[np.uint8],
        weight: NDArray[np.float32],
        window: tuple[slice, ...],
        synthesis: Synthesis,
    ) -> None:
        self._start = torch.from_numpy(prepared.centred)
        self._mean, self._gain = torch.from_numpy(prepared.mean), torch.from_numpy(prepared.gain)
        self._coded = torch.from_numpy(prepared.coded)
        self._synthesis = synthesis
        unit = -(-rgb.shape[0] // weight.shape[0])
        unit = max(unit, -(-rgb.shape[1] // weight.shape[1]))
        area = tuple(slice(span.start * unit, span.stop * unit) for span in window)
        self._pixels = torch.from_numpy(rgb[area].copy()).permute(2, 0, 1).float()
        spread = torch.from_numpy(weight[window])[None, None]
        height, width = self._pixels.shape[1:]
        self._weight = functional.interpolate(spread, scale_factor=unit)[0, 0, :height, :width]
        costs = np.minimum(tables.bits(), 2.0 * tables.precision).astype(np.float32)
        self._costs = torch.from_numpy(costs)
        table = torch.from_numpy(prepared.table.astype(np.int64))
        self._row = table * costs.shape[1]
        self._offset = torch.from_numpy(tables.offset)[table].float()
        self._last = torch.from_numpy(tables.length)[table].float() - 2  # the escape comes after it

    def adapted(self, steps: int) -> NDArray[np.int16]:
        """The symbols of the lowest J met on the way, the first ones included."""
        values = self._start.clone().requires_grad_()
        rate = _REACH / steps
        optimizer = torch.optim.Adam([values], lr=rate, fused=True)
        best, lowest = torch.round(self._start), torch.inf
        with torch.enable_grad():
            for step in range(steps + 1):
                rounded = torch.round(values.detach())
                distortion = self._distortion(values + (rounded - values).detach())
                cost = float(distortion.detach() + self._bits(rounded))
                if cost < lowest:
                    best, lowest = rounded, cost
                if step == steps:
                    break
                optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
                optimizer.zero_grad()
                (distortion + self._bits(values)).backward()
                optimizer.step()
        kept = torch.where(self._coded, best, torch.zeros(())).clamp(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL)
        return kept.numpy().astype(np.int16)

    def _distortion(self, values: Tensor) -> Tensor:
        """Squared errors as the bits that they are worth."""
        y_hat = (torch.where(self._coded, values, torch.zeros(())) + self._mean) * self._gain
        height, width = self._pixels.shape[1:]
        pixels = self._synthesis(y_hat[None])[0, :, :height, :width].float()
        return ((pixels - self._pixels).square().sum(dim=0) * self._weight).sum()

    def _bits(self, values: Tensor) -> Tensor:
        """What values cost by the tables, in straight lines between the whole numbers and beyond a table's ends."""
        place = values - self._offset
        left = torch.minimum(place.detach().floor().clamp_min(0), (self._last - 1).clamp_min(0))
        flat = self._costs.view(-1)
        index = self._row + left.long()
        low, high = flat[index], flat[index + (self._last > 0)]
        return torch.where(self._coded, low + (high - low) * (place - left), torch.zeros(())).sum()
