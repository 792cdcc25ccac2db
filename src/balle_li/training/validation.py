"""The cost on the validation patches: whole, rounded instead of noisy, always the same ones."""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from balle_li.boxes import importance_map
from balle_li.datasets.patch_store import PatchStore
from balle_li.training.data import Batch, pixels
from balle_li.training.importance import graded_importance
from balle_li.training.loss import Cost
from balle_li.training.module import TrainingModule

MAX_PATCHES = 256  # spread evenly over the store; more would only lengthen the pauses
SHOWN = 4  # patches on the page of reconstructions


class Validation:
    """Validates a training module on its device and in its precision.

    class_weights: as for `CropSource`. share: (rank, processes); each process takes a part of the patches.
    """

    def __init__(
        self, store: PatchStore, downsampling: int, class_weights: Mapping[str, float] | None, share: tuple[int, int]
    ) -> None:
        self.store, self.class_weights, self.share = store, class_weights, share
        self.side = store.size // downsampling * downsampling
        self.margin = (store.size - self.side) // 2
        self.patches = store.spread(MAX_PATCHES)

    @torch.no_grad()
    def run(self, module: TrainingModule) -> dict[str, float]:
        """Means of the cost's terms over the patches, and the PSNR in dB of their mean squared error."""
        rank, processes = self.share
        sums = torch.zeros(len(Cost.__annotations__) + 1, device=module.device, dtype=torch.float64)
        module.model.eval()
        with module.trainer.precision_plugin.forward_context():
            mine = self.patches[rank::processes]
            for start in range(0, len(mine), 8):
                batch = self._batch(mine[start : start + 8], module.device)
                cost = module.cost(batch, self._importance(module, rank + start * processes, len(batch.images)))
                count = cost["loss"].new_tensor(len(batch.images))
                sums += torch.stack([*(value * count for value in cost.values()), count])  # type: ignore[operator]
        module.model.train()
        if processes > 1:
            torch.distributed.all_reduce(sums)
        *totals, count_all = sums.tolist()
        means = {name: total / count_all for name, total in zip(Cost.__annotations__, totals, strict=True)}
        return means | {"psnr": psnr(means["mse"])}

    @torch.no_grad()
    def picture(self, module: TrainingModule) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        """uint8 RGB page: a row of originals, a row of reconstructions and, if the model has them, one of importance maps."""
        batch = self._batch(self.patches[:: max(1, len(self.patches) // SHOWN)][:SHOWN], module.device)
        x = pixels(batch.images)
        module.model.eval()
        with module.trainer.precision_plugin.forward_context():
            output = module.model(x)
        module.model.train()
        rows = [x, output["x_hat"].float()]
        if output["importance"] is not None:
            enlarged = torch.nn.functional.interpolate(output["importance"].float(), x.shape[-2:])
            rows.append(enlarged.expand(-1, 3, -1, -1))
        return _page(rows)

    def _importance(self, module: TrainingModule, first: int, count: int) -> Tensor | None:
        """For models of variable rate: patch p of all is coded at the p-th quality, whatever process has it."""
        if not module.model.variable_rate:
            return None
        side = self.side // module.model.downsampling
        return graded_importance(range(first, first + count * self.share[1], self.share[1]), side, side, module.device)

    def _batch(self, patches: np.ndarray[tuple[int], np.dtype[np.int64]], device: torch.device) -> Batch:
        inside = slice(self.margin, self.margin + self.side)
        images = torch.from_numpy(self.store.read(patches)[:, inside, inside]).to(device)
        if self.class_weights is None:
            return Batch(images, None)
        size = self.store.size
        maps = [importance_map(self.store.boxes(int(patch)), size, size, self.class_weights) for patch in patches]
        return Batch(images, torch.from_numpy(np.stack(maps)[:, inside, inside]).to(device))


def psnr(mse: float) -> float:
    """dB, of a mean squared error on the [0, 1] scale."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


def _page(rows: list[Tensor]) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # (3, rows·H, pictures·W)
    page: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    page = grid.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return page
