"""Validation of a training, and its history: the curve, the validations, and the seconds that it took, interruptions aside.

The validation patches are always the same, taken whole, and coded with rounding in place of noise.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from balle_li.boxes import box_weight_map, weighted
from balle_li.data.patch_store import PatchStore
from balle_li.models.base import CompressionModel
from balle_li.training.batches import Batch, pixels, quality_sweep
from balle_li.training.loss import Cost, RateDistortionLoss

Record = dict[str, float]

MAX_POINTS = 1000  # of a training curve
MIN_STEPS_PER_POINT = 50  # reading the cost off a GPU makes it wait
MAX_PATCHES = 256  # spread evenly over the store; more would only lengthen the pauses
SHOWN = 4  # patches on the page of reconstructions
_AT_ONCE = 8


class Validation:
    """Validates a model on the device and in the precision of `fabric`.

    class_weights: as for `CropSource`. process: (rank, processes); each process takes a part of the patches.
    """

    def __init__(
        self,
        store: PatchStore,
        model: CompressionModel,
        loss: RateDistortionLoss,
        fabric: Fabric,
        class_weights: Mapping[str, float] | None,
        process: tuple[int, int],
    ) -> None:
        self.store, self.model, self.loss, self.fabric = store, model, loss, fabric
        self.class_weights, self.process = class_weights, process
        self.side = store.size // model.side_multiple * model.side_multiple
        self.margin = (store.size - self.side) // 2
        self.patches = store.spread(MAX_PATCHES)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Means of the cost's terms over the patches, and the PSNR in dB of their mean squared error."""
        rank, processes = self.process
        sums = torch.zeros(len(Cost.__annotations__) + 1, device=self.fabric.device, dtype=torch.float64)
        mine = self.patches[rank::processes]
        self.model.eval()
        for start in range(0, len(mine), _AT_ONCE):
            cost, count = self.cost(mine[start : start + _AT_ONCE], rank + start * processes)
            terms: list[Tensor] = [cost[name] for name in Cost.__annotations__]  # type: ignore[literal-required]
            sums += count * torch.stack([*terms, torch.ones_like(cost["loss"])])
        self.model.train()
        if processes > 1:
            torch.distributed.all_reduce(sums)
        *totals, count_all = sums.tolist()
        means = {name: total / count_all for name, total in zip(Cost.__annotations__, totals, strict=True)}
        return means | {"psnr": psnr(means["mse"])}

    def cost(self, patches: NDArray[np.int64], first: int) -> tuple[Cost, int]:
        """The cost of these patches, and how many they are; patch `first` of all is the first of them.

        Variable-rate models code patch p of all at the p-th quality of a sweep, whatever process has it.
        """
        batch, r = self._batch(patches), None
        x = pixels(batch.images)
        if self.model.latent_codec.variable_rate:
            side = self.side // self.model.downsampling
            numbers = range(first, first + len(x) * self.process[1], self.process[1])
            r = quality_sweep(numbers, side, side, self.fabric.device)
        weights = None if batch.weights is None else batch.weights.unsqueeze(1)
        with self.fabric.autocast():
            return self.loss(self.model(x, r), x, weights, r), len(x)

    @torch.no_grad()
    def picture(self) -> NDArray[np.uint8]:
        """uint8 RGB page: a row of originals, a row of reconstructions and, if the model has them, one of importance maps."""
        x = pixels(self._batch(self.patches[:: max(1, len(self.patches) // SHOWN)][:SHOWN]).images)
        self.model.eval()
        with self.fabric.autocast():
            output = self.model(x)
        self.model.train()
        rows = [x, output["x_hat"].float()]
        if output["importance"] is not None:
            enlarged = torch.nn.functional.interpolate(output["importance"].float(), x.shape[-2:])
            rows.append(enlarged.expand(-1, 3, -1, -1))
        return _page(rows)

    def _batch(self, patches: NDArray[np.int64]) -> Batch:
        inside = slice(self.margin, self.margin + self.side)
        images = torch.from_numpy(self.store.read(patches)[:, inside, inside]).to(self.fabric.device)
        if self.class_weights is None:
            return Batch(images, None)
        size = self.store.size
        maps: list[NDArray[Any]] = [
            box_weight_map(weighted(self.store.boxes(int(patch)), self.class_weights), size, size) for patch in patches
        ]
        return Batch(images, torch.from_numpy(np.stack(maps)[:, inside, inside]).to(self.fabric.device))


def psnr(mse: float) -> float:
    """dB, of a mean squared error on the [0, 1] scale."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


def _page(rows: list[Tensor]) -> NDArray[np.uint8]:
    grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # (3, rows·H, pictures·W)
    page: NDArray[np.uint8] = grid.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return page


class History:
    """training, validations: a record for each point, with its `step`. seconds: of training and validating.

    every: steps from one point of the training curve to the next.
    """

    def __init__(self, steps: int) -> None:
        self.every = max(1, min(MIN_STEPS_PER_POINT, steps // 20), steps // MAX_POINTS)
        self.training: list[Record] = []
        self.validations: list[Record] = []
        self.seconds = 0.0
        self._time = time.monotonic()

    def state(self) -> dict[str, Any]:
        """What a checkpoint and training.json hold."""
        return {"training": self.training, "validations": self.validations, "seconds": self.seconds}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take over `state()` of an interrupted training."""
        self.training, self.validations = list(state["training"]), list(state["validations"])
        self.seconds = float(state["seconds"])

    def add_point(self, step: int, values: Record, steps: int) -> Record:
        """A point of the training curve over the last `steps` steps; returns it, with steps per second."""
        elapsed = self._elapsed()
        values = values | {"steps_per_second": steps / elapsed if elapsed > 0 else 0.0}
        self.training.append({"step": step} | values)
        return values

    def add_validation(self, step: int, values: Record) -> bool:
        """Whether its loss is lower than all before."""
        better = values["loss"] < min((record["loss"] for record in self.validations), default=math.inf)
        self.validations.append({"step": step} | values)
        return better

    def start_clock(self) -> None:
        """Start timing the training steps."""
        self._time = time.monotonic()

    def count_pause(self, started: float) -> None:
        """Add the time since `started` (of `time.monotonic`) to the seconds, and leave it out of the steps per second."""
        spent = time.monotonic() - started
        self.seconds += spent
        self._time += spent

    def _elapsed(self) -> float:
        now = time.monotonic()
        elapsed, self._time = now - self._time, now
        self.seconds += elapsed
        return elapsed


def improves_no_more(validations: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the last `patience` validations all cost no less than the best before them; never where that is 0."""
    costs = [record["loss"] for record in validations]
    return 0 < patience < len(costs) and min(costs[-patience:]) >= min(costs[:-patience])
