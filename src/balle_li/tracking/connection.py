"""One MLflow database per checkout, shared by every process, also those in DVC's temporary workspaces."""

import logging
import os
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from balle_li.errors import TrackingError
from balle_li.files import is_project, project_home

EXPERIMENT = "balle-li"
DESCRIPTION = (
    "Learned image codecs, a run for each training with its evaluation. Under **Model metrics** `curves` is how the "
    "training went over its steps, `test` what the finished codec does on the test pictures, `wall` where the time went. "
    "The folder `report` of the artifacts has the curves, against those of classical codecs, and the pictures; "
    "`kedro run --pipeline compare` compares runs in one report."
)
NOTE_TAG = "mlflow.note.content"
"""Where MLflow keeps the description of an experiment, in Markdown."""
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
"""MLflow's database, and the folder of the files of its runs and models, in the checkout."""
_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Tables and columns in which MLflow keeps absolute addresses of files."""

logger = logging.getLogger(__name__)


@contextmanager
def database_lock() -> Iterator[None]:
    """Hold the lock that keeps two processes from creating tables, or moving an alias, at the same time; may be nested."""
    from filelock import FileLock

    home = project_home()
    folder, name = (home, DATABASE) if _is_home(home) else (Path(tempfile.gettempdir()), f"balle-li-{os.getuid()}")
    with FileLock(folder / f"{name}.lock", is_singleton=True):
        yield


def connect() -> ModuleType:
    """Import mlflow and point it at `$MLFLOW_TRACKING_URI`, or at `mlflow.db` and `mlruns/` of the checkout.

    Raises TrackingError: no project is here or above, or the database cannot be opened or is of an older MLflow.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    home = project_home()
    own = database_uri(home)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or own
    if uri == own and not _is_home(home):
        raise TrackingError(_not_in_a_project(home))
    import mlflow

    _quiet_messages()
    try:
        with database_lock():
            if uri == own:
                follow_checkout(home)
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI") or uri)
            if mlflow.get_experiment_by_name(EXPERIMENT) is None:
                # MLflow's own default would be the current directory, which DVC may delete after the run.
                location = (home / ARTIFACTS).as_uri() if uri.startswith("sqlite:") else None
                mlflow.create_experiment(EXPERIMENT, location, {NOTE_TAG: DESCRIPTION})
            mlflow.set_experiment(EXPERIMENT)
    except Exception as error:
        raise TrackingError(_why(error, uri)) from error
    return mlflow


def database_uri(home: Path) -> str:
    """The address of the checkout's own MLflow database."""
    return f"sqlite:///{home / DATABASE}"


def follow_checkout(home: Path) -> None:
    """Correct the addresses of files in the database of a checkout that was moved or copied.

    MLflow keeps absolute addresses: after a move it would look for files where they were, and a copy would write into the
    original. All that lay in the former checkout is now addressed in `home`, in one transaction. Nothing is done where the
    experiment's files lie elsewhere by choice, or where both paths are names of one folder.
    """
    if not (home / DATABASE).is_file():
        return
    with closing(sqlite3.connect(home / DATABASE, timeout=60)) as database, database:
        former = _stored_home(database)
        if former is None or former == home or _same(former / ARTIFACTS, home / ARTIFACTS):
            return
        for table, columns in _ADDRESSES.items():
            known = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for column in known.intersection(columns):
                for old, new in ((former.as_uri(), home.as_uri()), (str(former), str(home))):
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old) + 1, f"{old}/"),
                    )
    logger.info("the checkout was moved or copied from %s: MLflow's addresses of files now point to %s", former, home)
    if (former / ARTIFACTS).is_dir() and not (home / ARTIFACTS).is_dir():
        logger.warning("the files of its runs are not here: copy %s to %s", former / ARTIFACTS, home / ARTIFACTS)


def _stored_home(database: sqlite3.Connection) -> Path | None:
    """The checkout whose `mlruns/` the experiment's files are in; None where they are elsewhere, or there is no experiment."""
    if not list(database.execute("PRAGMA table_info(experiments)")):
        return None
    found = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    address = urlsplit(found[0] or "" if found else "")
    path = Path(url2pathname(address.path))
    return path.parent if address.scheme == "file" and path.name == ARTIFACTS else None


def _is_home(folder: Path) -> bool:
    return "DVC_ROOT" in os.environ or is_project(folder)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _not_in_a_project(folder: Path) -> str:
    checkout = Path(__file__).resolve().parents[3]
    where = f" ({checkout})" if is_project(checkout) else ""
    return (
        f"no Balle-Li project is at or above {folder}: run this inside the checkout{where}, or set MLFLOW_TRACKING_URI to "
        "the address of an MLflow database"
    )


def _why(error: Exception, uri: str) -> str:
    text = str(error).strip()
    if "out-of-date database schema" in text:
        return (
            f"the MLflow database at {uri} is of another version of MLflow: keep a copy of it, then run "
            f"`mlflow db upgrade {shlex.quote(uri)}`"
        )
    first_line = text.splitlines()[0] if text else type(error).__name__
    return f"MLflow does not answer at {uri} ({first_line}); check MLFLOW_TRACKING_URI"


def _quiet_messages() -> None:
    parts = "models", "pyfunc", "store.db.utils", "system_metrics", "tracking.fluent"
    for name in ("alembic", *(f"mlflow.{part}" for part in parts)):
        logging.getLogger(name).setLevel(logging.WARNING)
