"""What a training has been through: its curves, its validations, and the seconds that it took in all its parts."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

Record = dict[str, float]

MAX_POINTS = 1000  # of a training curve
MIN_STEPS_PER_POINT = 50  # reading the cost off a GPU makes it wait


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
        """Go on from `state()` of an earlier part of the training."""
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
        """What follows counts as training."""
        self._time = time.monotonic()

    def count_pause(self, started: float) -> None:
        """The time since `started` (`time.monotonic`) counts, but not for the steps per second."""
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
