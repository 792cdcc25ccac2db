"""One MLflow database per checkout, shared by every process, also those in DVC's temporary workspaces."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from balle_li.errors import TrackingError
from balle_li.files import project_home

EXPERIMENT = "balle-li"
DESCRIPTION = (
    "Learned image codecs, a run for each training with its evaluation. Under **Model metrics** `curves` is how the "
    "training went over its steps, `test` what the finished codec does on the test pictures, `wall` where the time went. "
    "The folder `evaluation` of the artifacts has the curves beside classical codecs and the pictures; "
    "`kedro run --pipeline compare` puts runs beside each other."
)
NOTE_TAG = "mlflow.note.content"
"""Where MLflow keeps the description of an experiment, in Markdown."""


@contextmanager
def database_lock() -> Iterator[None]:
    """Hold the lock that keeps two processes from creating tables, or moving an alias, at the same time; may be nested."""
    from filelock import FileLock

    with FileLock(project_home() / "mlflow.db.lock", is_singleton=True):
        yield


def connect() -> ModuleType:
    """Import mlflow and point it at `$MLFLOW_TRACKING_URI`, or at `mlflow.db` and `mlruns/` of the checkout.

    Raises TrackingError when the database cannot be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    _quiet_messages()
    home = project_home()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or database_uri(home)
    try:
        with database_lock():
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI") or uri)
            if mlflow.get_experiment_by_name(EXPERIMENT) is None:
                # MLflow's own default would be the current directory, which DVC may delete after the run.
                location = (home / "mlruns").as_uri() if uri.startswith("sqlite:") else None
                mlflow.create_experiment(EXPERIMENT, location, {NOTE_TAG: DESCRIPTION})
            mlflow.set_experiment(EXPERIMENT)
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrackingError(f"MLflow does not answer at {uri} ({first_line}); check MLFLOW_TRACKING_URI") from error
    return mlflow


def database_uri(home: Path) -> str:
    """The address of the checkout's own MLflow database."""
    return f"sqlite:///{home / 'mlflow.db'}"


def _quiet_messages() -> None:
    import logging

    for name in ("alembic", "mlflow.models", "mlflow.pyfunc", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logging.getLogger(name).setLevel(logging.WARNING)
