"""Evaluations of runs, read back for a comparison, and grouped into curves."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.comparison.curves import RdCurve
from balle_li.comparison.summary import BASELINES_FILE, CLASSICAL_FILE, CURVE_FILE, METRICS_FILE
from balle_li.config import TEST_SET
from balle_li.errors import BalleLiError
from balle_li.evaluation.measurements import EXAMPLES, EXAMPLES_INDEX, HEADLINE, MEASUREMENTS_FILE, read_measurements
from balle_li.evaluation.metrics import MetricFacts, facts_in
from balle_li.files import read_json

if TYPE_CHECKING:
    import pandas as pd

PAPER_JPEG = tuple(f"quality {quality}, 4:2:0" for quality in (8, 16, 32))
"""The settings that Graham & Decoto (2019) compare with."""
NOT_THE_MODEL = ("lmbda", "evaluate.", "register.", "compare.", "compute.", "train.device", "train.precision")
"""Parameters, or starts of their names, in which the points of one curve may differ."""
LONGEST_LABEL = 3
"""Parameters that a label names at most."""
LONGEST_VALUE = 24

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetResult:
    """A run on one set of pictures. `pictures` has a row a compared picture at the headline's setting, `paper_jpeg` by
    setting.

    examples: the entries of `examples.json`; their pictures lie below `folder`/examples. None where the run kept none.
    """

    folder: Path
    metrics: Mapping[str, Any]
    facts: list[MetricFacts]
    curve: RdCurve
    baselines: Mapping[str, RdCurve]
    classical: Mapping[str, RdCurve]
    pictures: "pd.DataFrame"
    paper_jpeg: "Mapping[str, pd.DataFrame]"
    examples: list[dict[str, Any]] | None

    @property
    def digest(self) -> str:
        """Tells the compared pictures from others."""
        return str(self.metrics["test_set"])


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with its results by set. `parameters` are flat, as MLflow keeps them: {"train.lr": "0.002"}."""

    run_id: str
    name: str
    started: str
    source: str
    parameters: Mapping[str, str]
    sets: Mapping[str, SetResult]

    @property
    def model(self) -> str:
        return self.sets[TEST_SET].curve.codec

    @property
    def kind(self) -> str:
        """What its loss measures, one of KIND_TITLES."""
        return str(self.sets[TEST_SET].metrics["kind"])

    @property
    def lmbda(self) -> str:
        return self.parameters.get("lmbda", "?")


@dataclass(frozen=True)
class Series:
    """Runs that make one curve, by rising rate: those that differ in lmbda alone, or one model of variable rate.

    label: tells it from the other series.
    """

    label: str
    runs: tuple[EvaluatedRun, ...]

    def curve(self, name: str) -> tuple[RdCurve, list[str]]:
        """The curve on the set `name` by rising rate, and the id of the run of each point."""
        records = [
            record | {"run": run.run_id}
            for run in self.runs
            if name in run.sets
            for record in run.sets[name].curve.records()
        ]
        records.sort(key=lambda record: record["bpp"])
        runs = [record.pop("run") for record in records]
        return RdCurve.of(self.label, records), runs


def read_run(
    run_id: str, name: str, started: str, source: str, parameters: Mapping[str, str], folder: Path
) -> EvaluatedRun:
    """Read a run's evaluation from `folder`, a copy of what lies at `source`.

    Raises BalleLiError when a file is missing or damaged.
    """
    sets = {TEST_SET: _read_set(folder)}
    listed = sets[TEST_SET].metrics.get("sets")  # the run may keep more, of an evaluation before
    for part in sorted((folder / "sets").glob("*")):
        if listed is None or part.name in listed:
            sets[part.name] = _read_set(part)
    return EvaluatedRun(run_id, name, started, source, parameters, sets)


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


def _read_set(folder: Path) -> SetResult:
    metrics, index = read_json(folder / METRICS_FILE), folder / EXAMPLES / EXAMPLES_INDEX
    frame = read_measurements(folder / MEASUREMENTS_FILE)
    if "kind" not in metrics:
        raise BalleLiError(f"{folder} is of another version of the project: {METRICS_FILE} lacks the kind of the model")
    try:
        (curve,) = _curves(folder / CURVE_FILE).values()
        frame = frame[frame["compared"]]
        jpeg = dict(list(frame[frame["codec"] == "jpeg"].groupby("setting")))
        return SetResult(
            folder=folder,
            metrics=metrics,
            facts=facts_in(metrics),
            curve=curve,
            baselines=_curves(folder / BASELINES_FILE),
            classical=_curves(folder / CLASSICAL_FILE),
            pictures=frame[frame["kind"] == HEADLINE],
            paper_jpeg={setting: jpeg[setting] for setting in PAPER_JPEG if setting in jpeg},
            examples=read_json(index) if index.exists() else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BalleLiError(f"{folder} is of another version of the project ({error!r})") from None


def _curves(path: Path) -> dict[str, RdCurve]:
    points: dict[str, list[dict[str, Any]]] = {}
    for record in read_json(path):
        points.setdefault(record["codec"], []).append(record)
    return {codec: RdCurve.of(codec, found) for codec, found in points.items()}


def _key(run: EvaluatedRun) -> tuple[object, ...]:
    variable = run.lmbda if any(len(result.curve.points) > 1 for result in run.sets.values()) else None
    return run.model, tuple(sorted(_own(run).items())), run.sets[TEST_SET].digest, variable


def _rate(run: EvaluatedRun) -> float:
    return float(run.sets[TEST_SET].curve.points["bpp"].iloc[0])


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
