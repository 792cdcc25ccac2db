"""One experiment, one MLflow run, however many processes make it; and where the run comes from."""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from balle_li.files import workspace
from balle_li.progress import RunLog
from balle_li.tracking.connection import EXPERIMENT, connect

EXPERIMENT_TAG = "dvc.exp_name"
ORIGIN_TAG = "origin.run_id"
UNCOMMITTED_FILE = "uncommitted.diff"
SECONDS = "wall/{}_seconds"
WAITING = "waiting"
OF_TRAINING, CURVES = ("train/", "validation/"), "curves/"
"""MLflow's page of a run shows metrics by name: so the curves of the training come before single values."""
DIGEST_LENGTH = 36
"""Characters of a dataset's digest that MLflow's tables hold."""
DATA_STAGE = "patches"
EVERYTHING_BUT_THE_LOCK = ("--", ".", ":(exclude)dvc.lock")
"""DVC writes dvc.lock after every stage, so that it is never committed while an experiment runs."""
_NOT_IN_NAMES = re.compile(r"[^/\w.\- :]")
_NAME = re.compile(r"[\w\- :]{1,200}")
"""A part of a parameter's name that MLflow takes on Linux."""


def open_run(parameters: Mapping[str, Any], tags: Mapping[str, str], run_id: str | None = None) -> str:
    """Start a run, or find the one that an interrupted training left behind; return its id.

    `parameters` is params.yaml as a nested mapping. A new run is named by model, lmbda and date, and keeps what was not
    committed when it began. A `run_id` that is unknown to the database (it came from another
    machine with the data, or was deleted) gets one stand-in, tagged `origin.run_id`.
    """
    mlflow = connect()
    if run_id is not None:
        known = _find(mlflow, run_id)
        if known is not None:
            return known
        tags = {**tags, ORIGIN_TAG: run_id}
    # The use of the machine, where MLflow is asked to log it, is that of the stages.
    with mlflow.start_run(run_name=_run_name(parameters, tags), tags=dict(tags), log_system_metrics=False) as run:
        mlflow.log_params(dict(flatten(parameters)))
        changes = uncommitted_changes()
        if changes is not None:
            mlflow.log_text(changes, UNCOMMITTED_FILE)
        return str(run.info.run_id)


@contextmanager
def attached(
    run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str], stage: str | None = None
) -> Iterator["MlflowLog"]:
    """Work inside the run `run_id` and yield its log; a new run takes its place where the database lacks it.

    The run's status at the end: FINISHED, FAILED after an exception, KILLED after Ctrl-C or SIGTERM. The seconds that
    `stage` takes, in all its sessions, become a metric of the run, and so do those in which the run waited for its next stage.
    """
    mlflow = connect()
    run_id = open_run(parameters, tags, run_id)
    before = mlflow.get_run(run_id)
    with _sigterm_as_exit():
        mlflow.start_run(run_id=run_id)
        start, status = time.time(), "FAILED"
        try:
            yield MlflowLog(mlflow, run_id)
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            if stage is not None:
                ended = before.info.end_time
                spent = {stage: time.time() - start, WAITING: max(0.0, start - ended / 1000) if ended else 0.0}
                known = before.data.metrics
                mlflow.log_metrics({(name := SECONDS.format(key)): known.get(name, 0.0) + spent[key] for key in spent})
            mlflow.end_run(status)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Within, SIGTERM ends this process as sys.exit does, which closes what is open; a second one ends it at once.

    Where SIGTERM has a handler already, and outside the main thread, nothing changes.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:  # a fork has the handler too, and nothing to close
            os.kill(os.getpid(), number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class MlflowLog(RunLog):
    """The log of an MLflow run."""

    def __init__(self, mlflow: Any, run_id: str) -> None:
        self.run_id = run_id
        self._mlflow = mlflow

    def metrics(self, step: int, values: dict[str, float]) -> None:
        named = {f"{CURVES}{name}" if name.startswith(OF_TRAINING) else name: value for name, value in values.items()}
        named = {_NOT_IN_NAMES.sub("_", name): value for name, value in named.items()}
        self._mlflow.log_metrics(named, step=step, run_id=self.run_id)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{step:07d}.png"
            Image.fromarray(image).save(path)
            self.artifact(path, f"training/{name}")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self._mlflow.log_artifact(str(path), folder, run_id=self.run_id)

    def dataset(self, name: str, folder: Path, digest: str, context: str) -> None:
        """Say which data the run used: those in `folder`, told apart by `digest`; context: "training" or "testing"."""
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource

        here = folder.resolve()
        place = here.relative_to(workspace()) if here.is_relative_to(workspace()) else here
        data = MetaDataset(LocalArtifactDatasetSource(str(place)), name=name, digest=digest[:DIGEST_LENGTH])
        self._mlflow.log_input(data, context=context)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Turn nested parameters into MLflow's flat ones: {"train": {"lr": 1}} gives ("train.lr", 1).

    A mapping with a key that MLflow takes in no name, such as the class "Kitchen & dining room table", stays one value, JSON.
    """
    for key, value in values.items():
        if not isinstance(value, Mapping) or not value:
            yield f"{prefix}{key}", value
        elif all(_NAME.fullmatch(str(name)) for name in value):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            named = {str(name): inner for name, inner in value.items()}
            yield f"{prefix}{key}", json.dumps(named, ensure_ascii=False, sort_keys=True)


def _run_name(parameters: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Such as `balle-li-roi, lmbda 0.01, 2026-03-01 14:05`; in a DVC experiment with the name of that."""
    model, lmbda = parameters.get("model", {}).get("name"), parameters.get("lmbda")
    parts = [model, f"lmbda {lmbda:g}" if lmbda is not None else None, f"{datetime.now():%Y-%m-%d %H:%M}"]
    name = ", ".join(part for part in parts if part)
    experiment = tags.get(EXPERIMENT_TAG)
    return f"{name} ({experiment})" if experiment else name


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


def origin_tags() -> dict[str, str]:
    """Tags for the run of this process, which works in the checkout or in DVC's temporary copy of it.

    `git.commit`, for MLflow's own pages also `mlflow.source.git.commit`, and `git.dirty`, whether anything was not
    committed; `dvc.exp_name` and `dvc.baseline` inside a DVC experiment; `data.dvc_hash`, what dvc.lock says of the patch
    store's content. A tag whose source is not there is left out.
    """
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", *EVERYTHING_BUT_THE_LOCK)
    found = {
        "git.commit": commit,
        "mlflow.source.git.commit": commit,
        "git.dirty": None if status is None else str(bool(status)).lower(),
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
        "data.dvc_hash": _locked_hash(workspace() / "dvc.lock"),
    }
    return {name: value for name, value in found.items() if value}


def uncommitted_changes() -> str | None:
    """What sets the workspace apart from its commit: git's status and diff; None where nothing does, or git cannot say."""
    status = _git("status", "--porcelain", *EVERYTHING_BUT_THE_LOCK)
    if not status:
        return None
    return f"{status}\n\n{_git('diff', 'HEAD', *EVERYTHING_BUT_THE_LOCK) or ''}\n"


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(workspace()), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _locked_hash(lock: Path) -> str | None:
    import yaml

    try:
        stages = yaml.safe_load(lock.read_text()).get("stages", {})
    except (OSError, yaml.YAMLError, AttributeError):
        return None
    outs = stages.get(DATA_STAGE, {}).get("outs", [])
    return outs[0].get("md5") if outs else None
