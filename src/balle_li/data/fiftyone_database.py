"""FiftyOne on a database of the project's own, in `<home>/.fiftyone`, or on the server FIFTYONE_DATABASE_URI names.

FiftyOne runs one mongod per machine user and shares it among that user's processes, whatever folder each of them asked
for: two projects at work at the same time would write into one database. Here the folder is part of how a running
mongod is found, so that processes of this project share theirs and touch no other.
"""

import functools
import importlib
import importlib.metadata
import locale
import os
import time
from email import message_from_string
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from balle_li.errors import DatasetError, in_one_line
from balle_li.files import project_home, workspace

START_SECONDS = 60.0
START_ATTEMPTS = 5


@functools.cache
def connect() -> ModuleType:
    """Import fiftyone and connect it to the database, starting mongod if no other process of the project runs it.

    Returns the module `fiftyone`. mongod ends by itself with the last process that uses it.

    Raises DatasetError: there is no mongod, it does not start, or the server named by FIFTYONE_DATABASE_URI is away.
    """
    home = project_home() / ".fiftyone"
    _set_environment(home)
    from filelock import FileLock

    fiftyone = _imported()
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"):  # of two mongods started at once in one folder, one fails
        _start(fiftyone, home)
    return fiftyone


def _imported() -> ModuleType:
    """The module `fiftyone`, in whatever order a process imports it and MLflow.

    FiftyOne's package eta reads a field that its own metadata lacks. Python answers None, but once importlib_metadata is
    imported, which MLflow does, that package answers in Python's place, with a KeyError.
    """

    def of_package(name: str) -> Message:
        return message_from_string(importlib.metadata.distribution(name).read_text("METADATA") or "")

    with patch("importlib.metadata.metadata", of_package):
        return importlib.import_module("fiftyone")


def in_temporary_workspace() -> bool:
    """Whether DVC runs this process in a workspace that it deletes afterwards (`dvc exp run --temp`, `--queue`)."""
    return workspace() != project_home()


def _set_environment(home: Path) -> None:
    _set_valid_locale()
    # A parent process leaves its mongod's port here; whoever took it would lose the database when the parent ends.
    os.environ.pop("FIFTYONE_PRIVATE_DATABASE_PORT", None)
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    for name, value in {
        "FIFTYONE_DATABASE_DIR": str(home / "db"),
        "FIFTYONE_DATABASE_VALIDATION": "false",  # else it prints advice on mongod's version
        "FIFTYONE_DATASET_ZOO_DIR": str(home / "zoo"),
        "FIFTYONE_DEFAULT_DATASET_DIR": str(home / "datasets"),
        "FIFTYONE_LOGGING_LEVEL": "WARNING",
        "FIFTYONE_MODEL_ZOO_DIR": str(home / "models"),
        "FIFTYONE_PLUGINS_DIR": str(home / "plugins"),
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
    }.items():
        os.environ.setdefault(name, value)


def _set_valid_locale() -> None:
    """Give mongod, which may not start under one that this machine lacks, such as SSH hands on, the locale C."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        os.environ["LC_ALL"] = "C"
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _start(fiftyone: ModuleType, home: Path) -> None:
    import psutil  # type: ignore[import-untyped]
    from fiftyone.core import service
    from fiftyone.core.config import FiftyOneConfigError
    from fiftyone.core.odm import database

    if fiftyone.config.database_uri is None:
        _check_mongod(service)
        service.DatabaseService = _project_service(service, fiftyone.config.database_dir)
    for attempt in range(START_ATTEMPTS):
        try:
            database.get_db_conn()
            return
        except (service.ServiceListenTimeout, psutil.Error):
            # Most likely the folder's last mongod was just ending; without the reset FiftyOne would go on to port 27017.
            database._db_service = None
            time.sleep(1.0 + attempt)
        except (ConnectionError, RuntimeError, PermissionError, FiftyOneConfigError) as error:
            where = fiftyone.config.database_uri or home
            raise DatasetError(f"FiftyOne cannot use its database at {where}: {in_one_line(error)}") from error
    log = Path(fiftyone.config.database_dir) / "log" / "mongo.log"
    raise DatasetError(f"FiftyOne's database did not start; {log} says why")


def _check_mongod(service: ModuleType) -> None:
    try:
        service.DatabaseService.find_mongod()
    except (service.ServiceExecutableNotFound, PermissionError):
        raise DatasetError(
            "FiftyOne has no mongod to keep its database; `make setup` brings one, or set FIFTYONE_DATABASE_URI to a server"
        ) from None


def _project_service(service: ModuleType, directory: str) -> type:
    """FiftyOne's database service, found again by its folder instead of by its name alone."""

    class ProjectDatabaseService(service.DatabaseService):  # type: ignore[name-defined]
        @property
        def _service_args(self) -> list[str]:
            return [*super()._service_args, "--database-directory", directory]

        @property
        def command(self) -> list[str]:
            return [*super().command, "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "1"]

        @property
        def port(self) -> Any:
            """Where mongod listens. Raises ServiceListenTimeout, at once if mongod has ended."""
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    return self._wait_for_child_port(timeout=1)
                except service.ServiceListenTimeout:
                    if time.monotonic() > deadline or not _is_alive(self.child):
                        raise

    return ProjectDatabaseService


def _is_alive(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
