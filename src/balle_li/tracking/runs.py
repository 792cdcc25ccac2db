"""Finished runs of an experiment and the files they left, for whoever compares them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from balle_li.errors import TrackingError
from balle_li.tracking.connection import connect
from balle_li.tracking.run import EXPERIMENT_TAG

EVALUATION = "evaluation"
"""The folder of a run's artifacts that the evaluate stage fills."""
_EVALUATED = "test/bpp"
_MOST_RUNS = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """A run with an evaluation. `name` is that of its DVC experiment, where it has one, else the run's own.

    `evaluation` is a folder on this machine, `source` where MLflow keeps it.
    """

    run_id: str
    name: str
    started: str
    parameters: Mapping[str, str]
    evaluation: Path
    source: str


def finished_runs(experiment: str, names: Sequence[str], query: str) -> list[FinishedRun]:
    """The runs of `experiment` that are finished and evaluated, the oldest first.

    names: only those whose ids or names start so; empty: all. query: MLflow's filter, such as
    `tags.sweep = 'first'`. A run that lacks its files is left out with a warning, and so are the oldest of more than 1000.

    Raises TrackingError: there is no such experiment, a name fits no run, the query is not MLflow's, or no run is left.
    """
    mlflow = connect()
    if mlflow.get_experiment_by_name(experiment) is None:
        raise TrackingError(f"MLflow has no experiment {experiment!r}; correct compare.experiment in params.yaml")
    try:
        found = mlflow.search_runs(
            experiment_names=[experiment], filter_string=query, order_by=["attributes.start_time DESC"],
            max_results=_MOST_RUNS, output_format="list",
        )  # fmt: skip
    except Exception as error:
        first_line = str(error).strip().splitlines()[0]
        raise TrackingError(f"compare.filter {query!r} cannot be used: {first_line}") from error
    if len(found) == _MOST_RUNS:
        logger.warning("only the newest %d runs are looked at; narrow them with compare.filter", _MOST_RUNS)
    evaluated = [run for run in reversed(found) if run.info.status == "FINISHED" and _EVALUATED in run.data.metrics]
    chosen = _named(evaluated, names) if names else evaluated
    fetched = [run for run in (_fetch(mlflow, run) for run in chosen) if run is not None]
    if not fetched:
        raise TrackingError(
            f"no finished run of experiment {experiment!r} with an evaluation was found; make one with `dvc repro` or "
            "`dvc exp run`, or correct the section compare of params.yaml"
        )
    return fetched


def log_comparison(folder: Path, run_ids: Iterable[str], experiment: str) -> str:
    """Keep the files of `folder` in a run of its own, tagged `kind: comparison`, and return its id."""
    mlflow = connect()
    mlflow.set_experiment(experiment)
    tags = {"kind": "comparison", "compared_runs": " ".join(run_ids)}
    with mlflow.start_run(run_name="comparison", tags=tags) as run:
        mlflow.log_artifacts(str(folder))
    return str(run.info.run_id)


def _named(runs: Sequence[Any], names: Sequence[str]) -> list[Any]:
    chosen: dict[str, Any] = {}
    for name in names:
        fitting = [
            run for run in runs if any(one.startswith(name) for one in (run.info.run_id, run.info.run_name, _name(run)))
        ]
        if not fitting:
            raise TrackingError(
                f"compare.runs: no finished run with an evaluation has an id or name that starts with {name!r}; "
                "`make ui` shows them"
            )
        chosen |= {run.info.run_id: run for run in fitting}
    return list(chosen.values())


def _name(run: Any) -> str:
    return str(run.data.tags.get(EXPERIMENT_TAG) or run.info.run_name)


def _fetch(mlflow: Any, run: Any) -> FinishedRun | None:
    source = f"{run.info.artifact_uri}/{EVALUATION}"
    try:
        folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=EVALUATION))
    except Exception as error:
        first_line = str(error).strip().splitlines()[0]
        logger.warning(
            "run %s (%s) is left out: %s is not there (%s)", run.info.run_name, run.info.run_id, source, first_line
        )
        return None
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
    return FinishedRun(run.info.run_id, _name(run), started, dict(run.data.params), folder, source)
