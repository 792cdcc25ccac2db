"""The learning rate over a training, by name."""

import math
from collections.abc import Callable
from typing import Literal, get_args

ScheduleName = Literal["one-cycle", "step", "constant"]
SCHEDULES: tuple[str, ...] = get_args(ScheduleName)

_FIRST, _LAST = 0.04, 4e-6  # of one cycle: where it starts and ends, as shares of the highest rate
_DROP_AT, _DROP = 0.8, 0.1


def schedule(name: ScheduleName, steps: int, warmup: float) -> Callable[[int], float]:
    """The share of the highest learning rate that step 0, 1, … of `steps` takes; `warmup` is the share of steps that rise.

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


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
