"""The cost on the validation patches: whole, rounded instead of noisy, always the same ones."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from balle_li.boxes import box_weight_map, weighted
from balle_li.datasets.patch_store import PatchStore
from balle_li.models.base import CompressionModel
from balle_li.training.batches import Batch, pixels
from balle_li.training.loss import Cost, RateDistortionLoss
from balle_li.training.quality_maps import quality_sweep

MAX_PATCHES = 256  # spread evenly over the store; more would only lengthen the pauses
SHOWN = 4  # patches on the page of reconstructions
_AT_ONCE = 8


class Validation:
    """Validates a model on the device and in the precision of `fabric`.

    class_weights: as for `CropSource`. share: (rank, processes); each process takes a part of the patches.
    """

    def __init__(
        self,
        store: PatchStore,
        model: CompressionModel,
        loss: RateDistortionLoss,
        fabric: Fabric,
        class_weights: Mapping[str, float] | None,
        share: tuple[int, int],
    ) -> None:
        self.store, self.model, self.loss, self.fabric = store, model, loss, fabric
        self.class_weights, self.share = class_weights, share
        self.side = store.size // model.downsampling * model.downsampling
        self.margin = (store.size - self.side) // 2
        self.patches = store.spread(MAX_PATCHES)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Means of the cost's terms over the patches, and the PSNR in dB of their mean squared error."""
        rank, processes = self.share
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
            numbers = range(first, first + len(x) * self.share[1], self.share[1])
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
