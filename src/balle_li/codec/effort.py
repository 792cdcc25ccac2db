"""Encoder effort: latents adapted to the one picture that is being coded. Decoders need not know of it.

Stochastic Gumbel annealing (Yang, Bamler & Mandt 2020, "Improving inference for neural image compression"): steps down the
gradient of the cost that the model was trained for, J = bits + lmbda · 4^r · (squared errors + MS-SSIM loss). Each latent is
drawn between its two nearest symbols, the nearer one being likelier, and the temperature of the draw falls until it
rounds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from balle_li.latents.base import LatentCodec, Prepared
from balle_li.ms_ssim_loss import MsSsimLoss, squared_weight
from balle_li.quality_map import STEPS, Levels
from balle_li.tiling import Progress, tiles

MAX_EFFORT = 10
_STEPS_PER_EFFORT = 20
_RATE = 0.22  # Adam's learning rate times the root of the number of steps, in steps of the quantizer
_HOT, _COLD = 0.5, 0.1  # temperatures
_WARM_UNTIL, _FAST_UNTIL = 0.2, 0.6  # of the steps: then the temperature falls, and then the learning rate
_STEPS_BETWEEN_PRIORS = 5  # means and tables follow the latents by so many
_TILE, _MARGIN = 48, 4  # latents; what lies in the margin is adapted with a tile, but kept as its own tile has it

Synthesis = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Goal:
    """lmbda: bits a pixel that a mean squared error of 1 is worth, on the 0–255 scale. ms_ssim_weight: what an MS-SSIM loss
    of 1 is worth, in such errors. r: levels (rows, columns), one for every square of `downsampling` pixels a side, whose
    errors are multiplied by 4^r."""

    downsampling: int
    lmbda: float
    ms_ssim_weight: float
    r: Levels


def adapt(
    prepared: Prepared,
    coder: LatentCodec,
    rgb: NDArray[np.uint8],
    goal: Goal,
    synthesis: Synthesis,
    effort: int,
    progress: Progress | None,
) -> Prepared:
    """What to code in place of `prepared`; of no tile is J higher.

    rgb: (H, W, 3). synthesis: y_hat (1, C, h, w) to pixels (1, 3, h·d, w·d), 0 to 255, differentiable. effort: 1 to
    MAX_EFFORT. progress: called with the fraction done after every step.
    """
    values = prepared.residual + prepared.mean
    _, rows, columns = values.shape
    steps, areas = effort * _STEPS_PER_EFFORT, list(tiles(rows, columns, _TILE))

    def after(tile: int, step: int) -> None:
        if progress is not None:
            progress((tile + step / steps) / len(areas))

    for number, (row, column) in enumerate(areas):
        window = tuple(
            slice(max(0, span.start - _MARGIN) // coder.alignment * coder.alignment, min(count, span.stop + _MARGIN))
            for span, count in ((row, rows), (column, columns))
        )
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip((row, column), window, strict=True))
        tile = _Tile(prepared.part(*window), coder, rgb, goal, window, synthesis)
        values[:, row, column] = tile.adapted(steps, partial(after, number))[:, *inner]
    return coder.requantized(prepared, values)


class _Tile:
    def __init__(
        self,
        prepared: Prepared,
        coder: LatentCodec,
        rgb: NDArray[np.uint8],
        goal: Goal,
        window: tuple[slice, ...],
        synthesis: Synthesis,
    ) -> None:
        self._prepared, self._coder, self._gain = prepared, coder, torch.from_numpy(prepared.gain)
        self._synthesis, self._goal = synthesis, goal
        unit = goal.downsampling
        area = rgb[*(slice(span.start * unit, span.stop * unit) for span in window)]
        self._seen = area.shape[:2]
        spread = torch.from_numpy(4.0 ** (goal.r[window] / STEPS)).float()[None, None]
        self._weights = functional.interpolate(spread, scale_factor=unit)
        height, width = self._weights.shape[2:]
        below, right = height - area.shape[0], width - area.shape[1]
        whole = np.pad(area, ((0, below), (0, right), (0, 0)), mode="edge")
        self._pixels = torch.from_numpy(whole).permute(2, 0, 1)[None].float()
        self._ms_ssim_loss = MsSsimLoss(self._pixels / 255, self._weights) if goal.ms_ssim_weight > 0 else None
        tables = coder.coder.tables
        self._costs = torch.from_numpy(np.minimum(tables.bits(), 2.0 * tables.precision).astype(np.float32))
        self._offset = torch.from_numpy(tables.offset).float()
        self._last = torch.from_numpy(tables.length).float() - 2  # the escape comes after it

    def adapted(self, steps: int, after: Callable[[int], None]) -> NDArray[np.float32]:
        """The values of lower J, the first ones or those of the last step. after: called with how many steps are done."""
        first = self._prepared.residual + self._prepared.mean
        values = torch.from_numpy(first.copy()).requires_grad_()
        rate = _RATE / steps**0.5
        optimizer = torch.optim.Adam([values], lr=rate, fused=True)
        random = torch.Generator().manual_seed(0)
        now = self._prepared
        for step in range(steps):
            done = step / steps
            optimizer.param_groups[0]["lr"] = rate * (1 - 0.9 * max(0.0, done - _FAST_UNTIL) / (1 - _FAST_UNTIL))
            temperature = _HOT * (_COLD / _HOT) ** (max(0.0, done - _WARM_UNTIL) / (1 - _WARM_UNTIL))
            if step % _STEPS_BETWEEN_PRIORS == 0:
                now = self._coder.requantized(self._prepared, values.detach().numpy())
            optimizer.zero_grad()
            with torch.enable_grad():
                drawn = _drawn(values - torch.from_numpy(now.mean), temperature, random)
                self._cost(drawn, now).backward()
            optimizer.step()
            after(step + 1)
        last = values.detach().numpy()
        cost_before, cost_after = (
            self._rounded_cost(self._coder.requantized(self._prepared, one)) for one in (first, last)
        )
        return last if cost_after < cost_before else first

    def _rounded_cost(self, prepared: Prepared) -> float:
        return float(self._cost(torch.from_numpy(prepared.symbols()).float(), prepared))

    def _cost(self, residual: Tensor, now: Prepared) -> Tensor:
        """J in bits; residual: distances from `now.mean`, whole numbers or not."""
        return self._distortion(residual, now) + self._bits(residual, now)

    def _distortion(self, residual: Tensor, now: Prepared) -> Tensor:
        """Errors as the bits that they are worth."""
        kept = torch.where(torch.from_numpy(now.coded), residual, torch.zeros(()))
        y_hat = (kept + torch.from_numpy(now.mean)) * self._gain
        pixels = self._synthesis(y_hat[None]).float()
        height, width = self._seen
        squared = ((pixels - self._pixels).square().mean(dim=1, keepdim=True) * self._weights)[..., :height, :width]
        error = squared_weight(self._goal.ms_ssim_weight) * squared.sum()
        if self._ms_ssim_loss is not None:
            error = error + height * width * self._goal.ms_ssim_weight * self._ms_ssim_loss(pixels / 255).sum()
        return self._goal.lmbda * error

    def _bits(self, residual: Tensor, now: Prepared) -> Tensor:
        """What values cost by the tables, in straight lines between the whole numbers and beyond a table's ends."""
        table = torch.from_numpy(now.table.astype(np.int64))
        place, last = residual - self._offset[table], self._last[table]
        left = torch.minimum(place.detach().floor().clamp_min(0), (last - 1).clamp_min(0))
        flat = self._costs.view(-1)
        index = table * self._costs.shape[1] + left.long()
        low, high = flat[index], flat[index + (last > 0)]
        cost = low + (high - low) * (place - left)
        return torch.where(torch.from_numpy(now.coded), cost, torch.zeros(())).sum()


def _drawn(residual: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """Each value between the whole numbers below and above it, nearly one of them at a low temperature; gradients pass."""
    below = residual.detach().floor()
    fraction = (residual - below).clamp(1e-4, 1 - 1e-4)
    logits = (torch.atanh(fraction) - torch.atanh(1 - fraction)) / temperature
    uniform = torch.rand(residual.shape, generator=random).clamp(1e-7, 1 - 1e-7)
    # The difference of two Gumbel variables is logistic.
    return below + torch.sigmoid((logits + torch.logit(uniform)) / temperature)
