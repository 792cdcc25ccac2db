"""Runs as curves: those that differ in lmbda alone are the points of one, a model of variable rate is one by itself."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balle_li.evaluation.config import TEST_SET
from balle_li.evaluation.curves import RdCurve, RdPoint
from balle_li.evaluation.evaluated_run import EvaluatedRun

NOT_THE_MODEL = ("lmbda", "evaluate.", "register.", "compare.", "compute.", "train.device", "train.precision")
"""Parameters, or starts of their names, in which the points of one curve may differ."""
LONGEST_LABEL = 3
"""Parameters that a label names at most."""
LONGEST_VALUE = 24

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """Runs that make one curve, by rising rate; `label` tells it from the other series."""

    label: str
    runs: tuple[EvaluatedRun, ...]

    def curve(self, name: str) -> tuple[RdCurve, list[EvaluatedRun]]:
        """The curve on the set `name` by rising rate, and the run of each point."""
        pairs: list[tuple[RdPoint, EvaluatedRun]] = [
            (point, run) for run in self.runs if name in run.sets for point in run.sets[name].curve.points
        ]
        pairs.sort(key=lambda pair: pair[0].bpp)
        return RdCurve(self.label, tuple(point for point, _ in pairs)), [run for _, run in pairs]


def make_series(runs: Sequence[EvaluatedRun]) -> list[Series]:
    """Group runs, given from the oldest to the newest. Of runs with equal parameters and pictures the newest counts; the
    others are named in a warning."""
    groups: dict[tuple[object, ...], dict[str, EvaluatedRun]] = {}
    for run in runs:
        group = groups.setdefault(_key(run), {})
        if run.lmbda in group:
            older = group[run.lmbda]
            logger.warning(
                "run %s (%s) is left out: %s is newer and has the same parameters", older.name, older.run_id, run.name
            )
        group[run.lmbda] = run
    members = [tuple(sorted(group.values(), key=_rate)) for group in groups.values()]
    labels = _labels([group[0] for group in members])
    return [Series(label, group) for label, group in zip(labels, members, strict=True)]


def _key(run: EvaluatedRun) -> tuple[object, ...]:
    variable = run.lmbda if any(len(result.curve.points) > 1 for result in run.sets.values()) else None
    return run.model, tuple(sorted(_own(run).items())), run.sets[TEST_SET].digest, variable


def _rate(run: EvaluatedRun) -> float:
    return run.sets[TEST_SET].curve.points[0].bpp


def _own(run: EvaluatedRun) -> dict[str, str]:
    return {name: value for name, value in run.parameters.items() if not name.startswith(NOT_THE_MODEL)}


def _labels(firsts: Sequence[EvaluatedRun]) -> list[str]:
    """A name for each: the model, and what sets it apart from the others of that model."""
    labels = []
    for run in firsts:
        different = _different([_own(other) for other in firsts if other.model == run.model])
        told = [f"{name.rsplit('.')[-1]}={_own(run).get(name, '–'):.{LONGEST_VALUE}}" for name in different]
        labels.append(", ".join([run.model, *told[:LONGEST_LABEL], *["…"] * (len(told) > LONGEST_LABEL)]))
    by_lmbda = _told_apart(labels, [f", lmbda={run.lmbda}" for run in firsts])
    return _told_apart(by_lmbda, [f" ({run.run_id[:6]})" for run in firsts])


def _told_apart(labels: Sequence[str], endings: Sequence[str]) -> list[str]:
    """The labels, those that occur more than once with their endings."""
    return [label + ending if labels.count(label) > 1 else label for label, ending in zip(labels, endings, strict=True)]


def _different(many: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for values in many for name in values)
    return [name for name in names if len({values.get(name) for values in many}) > 1]
