"""One experiment, one MLflow run, however many processes make it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from balle_li.tracking.connection import EXPERIMENT, connect

ORIGIN_TAG = "origin.run_id"


def open_run(parameters: Mapping[str, Any], tags: Mapping[str, str], run_id: str | None = None) -> str:
    """Start a run, or find the one that an interrupted training left behind; return its id.

    `parameters` is params.yaml as a nested mapping. A `run_id` that is unknown to the database (it came from another
    machine with the data, or was deleted) gets one stand-in, tagged `origin.run_id`.
    """
    mlflow = connect()
    if run_id is not None:
        known = _find(mlflow, run_id)
        if known is not None:
            return known
        tags = {**tags, ORIGIN_TAG: run_id}
    with mlflow.start_run(run_name=tags.get("dvc.exp_name"), tags=dict(tags)) as run:
        mlflow.log_params(dict(flatten(parameters)))
        return str(run.info.run_id)


@contextmanager
def attached(run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator["MlflowLog"]:
    """Work inside the run `run_id` and yield its log; a new run takes its place where the database lacks it.

    The run's status at the end: FINISHED, FAILED after an exception, KILLED after Ctrl-C.
    """
    mlflow = connect()
    run_id = open_run(parameters, tags, run_id)
    mlflow.start_run(run_id=run_id)
    status = "FAILED"
    try:
        yield MlflowLog(mlflow, run_id)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        mlflow.end_run(status)


class MlflowLog:
    """A `balle_li.run_log.RunLog` that writes to an MLflow run."""

    def __init__(self, mlflow: Any, run_id: str) -> None:
        self.run_id = run_id
        self._mlflow = mlflow

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._mlflow.log_metrics(values, step=step, run_id=self.run_id)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{step:07d}.png"
            Image.fromarray(image).save(path)
            self.artifact(path, f"training/{name}")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self._mlflow.log_artifact(str(path), folder, run_id=self.run_id)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Turn nested parameters into MLflow's flat ones: {"train": {"lr": 1}} gives ("train.lr", 1)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _find(mlflow: Any, run_id: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        if mlflow.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException:
        pass
    query = f"tags.`{ORIGIN_TAG}` = '{run_id}'"
    stand_ins = mlflow.search_runs(
        experiment_names=[EXPERIMENT], filter_string=query, max_results=1, output_format="list"
    )
    return str(stand_ins[0].info.run_id) if stand_ins else None
