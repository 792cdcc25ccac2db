"""The optimizer, and the learning rates of a model's parts."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from balle_li.models.base import CompressionModel
from balle_li.training.schedule import ScheduleName, schedule

_NEAR_GOAL = 0.25  # of the learning rate, for parts that do not start at random


def make_optimizer(model: CompressionModel, lr: float) -> torch.optim.Optimizer:
    """Adam; parts of the model that start near their goal (`started_near_goal`) take a quarter of `lr`."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups[f"{name}.".startswith(tuple(f"{part}." for part in model.started_near_goal))].append(weight)
    rates: list[dict[str, Any]] = [
        {"params": weights, "lr": _NEAR_GOAL * lr if near_goal else lr}
        for near_goal, weights in groups.items()
        if weights
    ]
    device = next(model.parameters()).device
    return torch.optim.Adam(rates, lr=lr, fused=device.type in ("cpu", "cuda"))


def make_scheduler(optimizer: torch.optim.Optimizer, name: ScheduleName, steps: int, warmup: float) -> LambdaLR:
    """Sets the learning rate after every step, as `schedule` says."""
    return LambdaLR(optimizer, schedule(name, steps, warmup))
