"""What every test may ask for: a quiet environment, the shared photographs, a throw-away database."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parents[1]
SHARE_A_PROJECT = ("tests/workflow/test_registered_model.py", "tests/workflow/test_workflow.py")

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
os.environ.setdefault("OMP_NUM_THREADS", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONPATH"] = str(ROOT / "src")  # of every Python that a test starts
for _name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of `make test`: a make that a test starts is no part of that one
    os.environ.pop(_name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: while one process has the whole workflow, the others have the rest."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


class ByFile(LoadFileScheduling):
    """All tests of a file go to one process, where they share fixtures; so do those of the files that share a project."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "one project" if file in SHARE_A_PROJECT else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Photographs kept beside the project: $BALLE_LI_SHARED, or ../shared."""
    folder = Path(os.environ.get("BALLE_LI_SHARED", ROOT.parent / "shared"))
    if not (folder / "labelled-photos").is_dir():
        pytest.skip(f"no shared photographs at {folder}; set BALLE_LI_SHARED")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the test's own, with an MLflow of its own, in which the process works."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow leaves the last test's here
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def mongo() -> Iterator[str]:
    """A mongod of its own for the whole test run; FiftyOne is pointed at it before its first import."""
    assert "fiftyone" not in sys.modules, "a test module imported fiftyone before the database was there"
    from importlib.util import find_spec

    spec = find_spec("fiftyone")
    assert spec is not None and spec.origin is not None
    mongod = Path(spec.origin).parent / "db" / "bin" / "mongod"
    assert mongod.is_file(), "FiftyOne's mongod is missing: run `make setup`"
    folder = Path(tempfile.mkdtemp(prefix="balle-li-mongo-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(mongod), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--nojournal", "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(folder / "log"), "--quiet"]
    process = subprocess.Popen(
        command, env=os.environ | {"LC_ALL": "C"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        # FiftyOne looks for the server once more at exit, when it is gone: it need not look for long.
        uri = f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=1000"
        settings = {
            "FIFTYONE_DATABASE_URI": uri,
            "FIFTYONE_DATABASE_NAME": "balle_li_tests",
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "FIFTYONE_DATASET_ZOO_DIR": str(folder / "zoo"),
        }
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        yield uri
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    finally:
        process.terminate()
        process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "mongod ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("mongod does not answer")
