"""The optimizer, the learning rates of a model's parts, and their schedule over a training."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from balle_li.config import OptimizerName, ScheduleName
from balle_li.models.base import CompressionModel

_ADAM_BETAS = 0.9, 0.999
# Smaller and rarer preconditioners than SOAP's own defaults gain as much a step and take a third of its time.
_LARGEST_PRECONDITIONER = 256
_SOAP = {"betas": (0.95, 0.95), "precondition_frequency": 20, "max_precondition_dim": _LARGEST_PRECONDITIONER}
_NEAR_GOAL = 0.25  # of the learning rate, for parts that do not start at random
_FIRST, _LAST = 0.04, 4e-6  # of one cycle: where it starts and ends, as fractions of the highest rate
_DROP_AT, _DROP = 0.8, 0.1


def make_optimizer(model: CompressionModel, name: OptimizerName, lr: float) -> torch.optim.Optimizer:
    """Adam or SOAP; parts of the model that start near their goal (`started_near_goal`) take a quarter of `lr`.

    SOAP is Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, "SOAP: Improving and stabilizing Shampoo
    using Adam"), here for the kernels of convolutions; all other weights take Adam's steps.
    """
    groups: dict[tuple[bool, bool, bool], list[Tensor]] = {}
    for key, weight in model.named_parameters():
        if weight.requires_grad:
            near_goal = f"{key}.".startswith(tuple(f"{part}." for part in model.started_near_goal))
            kernel = name == "soap" and weight.dim() == 4
            # The package cannot merge all dimensions of a kernel into one.
            merged = kernel and weight.numel() > _LARGEST_PRECONDITIONER
            groups.setdefault((near_goal, kernel, merged), []).append(weight)
    rates: list[dict[str, Any]] = [
        {"params": weights, "lr": _NEAR_GOAL * lr if near_goal else lr}
        | (_SOAP | {"merge_dims": merged} if kernel else {})
        for (near_goal, kernel, merged), weights in groups.items()
    ]
    if name == "soap":
        from pytorch_optimizer import SOAP  # a second, which a codec need not spend

        # With a preconditioner of no dimension what remains is Adam.
        return SOAP(rates, lr=lr, betas=_ADAM_BETAS, weight_decay=0.0, max_precondition_dim=1)
    device = next(model.parameters()).device
    return torch.optim.Adam(rates, lr=lr, betas=_ADAM_BETAS, fused=device.type in ("cpu", "cuda"))


def make_scheduler(optimizer: torch.optim.Optimizer, name: ScheduleName, steps: int, warmup: float) -> LambdaLR:
    """Sets the learning rate after every step, as `schedule` says."""
    return LambdaLR(optimizer, schedule(name, steps, warmup))


def schedule(name: ScheduleName, steps: int, warmup: float) -> Callable[[int], float]:
    """Give for step 0, 1, … of `steps` the fraction of the highest learning rate. It rises in the fraction `warmup` of the steps.

    one-cycle: up and down again by half cosines (Smith & Topin 2018, "Super-convergence"). step: up in a straight line,
    then level, a tenth after four fifths of the steps (the recipe of Yang & Mandt's shallow-ntc, 2023). constant: 1.
    """
    rise = warmup * steps

    def one_cycle(step: int) -> float:
        if step < rise:
            return _cosine(_FIRST, 1.0, step / rise)
        return _cosine(1.0, _LAST, (step - rise) / max(1.0, steps - 1 - rise))

    def late_step(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 1.0 if step < _DROP_AT * steps else _DROP

    return {"one-cycle": one_cycle, "step": late_step, "constant": lambda step: 1.0}[name]


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
