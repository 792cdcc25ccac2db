"""The training step, the optimizer and the learning rate, as Lightning wants them."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from balle_li.models.base import CompressionModel
from balle_li.models.entropy import EntropyBottleneck
from balle_li.models.gaussian import GaussianConditional
from balle_li.training.config import TrainConfig
from balle_li.training.data import Batch, pixels
from balle_li.training.importance import draw_importance
from balle_li.training.loss import Cost, RateDistortionLoss
from balle_li.training.schedule import schedule

_NOISE = 3  # keeps these random numbers apart from those of `data`
_TRANSFORMS_SHARE = 0.25  # of the learning rate: they start as a KLT near their goal, the entropy model at random


class TrainingModule(pl.LightningModule):
    """A model with its loss. All that is random in step s is drawn from a generator seeded with (seed, s).

    total: the sums of the cost's terms over the steps since `take_totals`, and the number of those steps. It
    stays on the device, so that no step waits for the one before.
    """

    def __init__(self, model: CompressionModel, config: TrainConfig, lmbda: float, seed: int) -> None:
        super().__init__()
        self.model, self.config, self.seed = model, config, seed
        self.loss = RateDistortionLoss(lmbda, config.lmbda_box, config.structure)
        # With random numbers of its own a compiled step would not be the step that it stands for.
        options: dict[str, Any] = {"fallback_random": True}
        self._fast_cost = torch.compile(self.cost, options=options) if config.compile else self.cost
        self._conditionals = [part for part in model.modules() if isinstance(part, GaussianConditional)]
        self.batch_share = (0, 1)
        self.register_buffer("total", torch.zeros(len(Cost.__annotations__) + 1), persistent=False)

    def setup(self, stage: str) -> None:
        self.batch_share = (self.global_rank, self.trainer.world_size)
        for part in self.model.modules():
            if isinstance(part, EntropyBottleneck | GaussianConditional):
                part.batch_share = self.batch_share

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        for part in self._conditionals:
            part.soft = self.global_step < self.config.soft_steps
        torch.manual_seed(int(np.random.SeedSequence([self.seed, _NOISE, self.global_step]).generate_state(1)[0]))
        cost = self._fast_cost(batch, self._draw(batch) if self.model.variable_rate else None)
        with torch.no_grad():
            self.total += torch.stack([*cost.values(), cost["loss"].new_ones(())])  # type: ignore[list-item]
        return cost["loss"]

    def cost(self, batch: Batch, r: Tensor | None) -> Cost:
        """r: the importance of every latent, `(B, 1, h, w)`, for models of variable rate."""
        x = pixels(batch.images)
        weights = None if batch.weights is None else batch.weights.unsqueeze(1)
        return self.loss(self.model(x, r), x, weights, r)

    def _draw(self, batch: Batch) -> Tensor:
        count, height, width, _ = batch.images.shape
        grid = height // self.model.downsampling, width // self.model.downsampling
        boxes = None if batch.weights is None else batch.weights.unsqueeze(1)
        return draw_importance(count, *grid, boxes, self.device, self.batch_share)

    def take_totals(self) -> tuple[dict[str, float], int]:
        """The means of the cost's terms since the last call, and over how many steps."""
        *sums, steps = self.total.tolist()
        self.total.zero_()
        return {name: value / max(steps, 1) for name, value in zip(Cost.__annotations__, sums, strict=True)}, int(steps)

    def is_finite(self) -> bool:
        """Whether the costs since the last `take_totals` and all the weights are numbers."""
        return bool(
            torch.stack([self.total.sum(), *(weight.detach().sum() for weight in self.model.parameters())])
            .isfinite()
            .all()
        )

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        # By hand: Lightning refuses to clip for any fused optimizer, though only fp16's loss scaling conflicts with it.
        if self.config.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)

    def configure_optimizers(self) -> Any:
        lr = self.config.highest_lr
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                groups[name.partition(".")[0] in self.model.started_as_klt].append(weight)
        started: dict[str, Any] = {"params": groups[True], "lr": _TRANSFORMS_SHARE * lr}
        others: dict[str, Any] = {"params": groups[False]}
        optimizer = torch.optim.Adam([started, others], lr=lr, fused=self.device.type in ("cpu", "cuda"))
        shares = schedule(self.config.schedule, self.config.steps, self.config.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, shares), "interval": "step"}}
