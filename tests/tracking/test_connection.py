"""Where MLflow's database and files are, also after the checkout was moved or copied."""

import logging
import shutil
import sqlite3
import subprocess
import sys

import pytest

from balle_li.errors import TrackingError


@pytest.fixture
def enter(monkeypatch):
    """Work in a folder as a process does that was started there."""

    def enter(folder):
        monkeypatch.setenv("DVC_ROOT", str(folder))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)

    return enter


def carry(home, place, take):
    """Move or copy the database and the files of the checkout `home`."""
    place.mkdir(parents=True)
    (home / "mlruns").mkdir(exist_ok=True)
    for name in ("mlflow.db", "mlruns"):
        take(str(home / name), str(place / name))
    return place


def new_run_with_a_file(folder):
    from balle_li.tracking import run

    file = folder / "file.txt"
    file.write_text("new")
    run_id = run.open_run({"seed": 0}, {})
    with run.attached(run_id, {}, {}) as log:
        log.artifact(file)
    return run_id


def test_a_moved_checkout_keeps_its_runs_and_its_champion(register, home, enter, caplog):
    from balle_li.tracking import connection, registry

    old_run = register(0.9)["run_id"]
    place = carry(home, home / "moved here" / "50 %", shutil.move)
    enter(place)
    with caplog.at_level(logging.INFO):
        mlflow = connection.connect()
    assert f"moved or copied from {home}: " in caplog.text
    assert registry.model_path("models:/codec@champion").is_relative_to(place)
    assert [item.path for item in mlflow.artifacts.list_artifacts(run_id=old_run)] == ["MODEL_CARD.md"]
    new_run = new_run_with_a_file(place)
    assert (place / "mlruns" / new_run / "artifacts" / "file.txt").is_file()
    assert register(0.8)["champion"] == "2"
    assert not (home / "mlruns").exists() and not (home / "mlflow.db").exists(), "the old place was made again"
    assert str(home / "mlruns") not in "".join(sqlite3.connect(place / "mlflow.db").iterdump())
    program = "import sys, mlflow; mlflow.pyfunc.load_model('models:/codec@champion'); print(mlflow.get_tracking_uri())"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=place, check=True,
        env={"MLFLOW_TRACKING_URI": connection.database_uri(place), "PATH": ""},
    )  # fmt: skip
    assert answer.stdout.strip() == connection.database_uri(place), "MLflow alone does not find the champion"


def test_a_copied_checkout_writes_nothing_into_the_original(register, home, enter):
    from balle_li.tracking import registry

    register(0.9)
    place = carry(home, home / "copy", lambda old, new: (shutil.copytree if "mlruns" in old else shutil.copy)(old, new))
    before = {path: path.stat().st_mtime_ns for path in [home / "mlflow.db", *(home / "mlruns").rglob("*")]}
    enter(place)
    new_run_with_a_file(place)
    register(0.8)
    assert registry.model_path("models:/codec/1").is_relative_to(place)
    assert {path: path.stat().st_mtime_ns for path in [home / "mlflow.db", *(home / "mlruns").rglob("*")]} == before
    enter(home)
    assert registry.model_path("models:/codec@champion").is_relative_to(home / "mlruns")


def test_a_copy_without_its_files_says_what_to_copy(register, home, enter, caplog):
    from balle_li.tracking import connection

    register(0.9)
    (home / "copy").mkdir()
    shutil.copy(home / "mlflow.db", home / "copy")
    enter(home / "copy")
    connection.connect()
    assert f"copy {home / 'mlruns'} to {home / 'copy' / 'mlruns'}" in caplog.text


def test_another_name_of_the_same_folder_changes_nothing(register, home):
    from balle_li.tracking import connection

    register(0.9)
    (home / "link").symlink_to(home, target_is_directory=True)
    before = (home / "mlflow.db").read_bytes()
    connection.follow_checkout(home / "link")
    connection.follow_checkout(home)
    assert (home / "mlflow.db").read_bytes() == before


def test_files_that_lie_elsewhere_by_choice_stay_there(home, enter):
    from balle_li.tracking import connection

    connection.connect()
    database = sqlite3.connect(home / "mlflow.db")
    database.execute("UPDATE experiments SET artifact_location = 's3://bucket/mlruns' WHERE name = 'balle-li'")
    database.commit()
    enter(carry(home, home / "moved", shutil.move))
    assert connection.connect().get_experiment_by_name("balle-li").artifact_location == "s3://bucket/mlruns"


def test_outside_a_project_nothing_is_written_and_one_line_says_where_to_run(tmp_path, enter, monkeypatch):
    from balle_li.interfaces import model_folder

    enter(tmp_path)
    monkeypatch.delenv("DVC_ROOT")
    with pytest.raises(
        TrackingError, match=r"no Balle-Li project is at or above .* run this inside the checkout"
    ) as caught:
        model_folder("models:/balle-li@champion")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    with pytest.raises(TrackingError, match="is not in the registry"):
        model_folder("models:/balle-li@champion")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere.db"]


def test_from_a_subfolder_the_project_is_found(tmp_path, enter, monkeypatch):
    from balle_li.tracking import connection

    inner = tmp_path / "photos" / "2026"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\n")
    enter(inner)
    monkeypatch.delenv("DVC_ROOT")
    connection.connect()
    assert (tmp_path / "mlflow.db").is_file() and list(inner.iterdir()) == []


def test_a_database_of_an_older_mlflow_names_the_command_with_its_address(home, enter):
    from balle_li.tracking import connection

    connection.connect()
    place = home / "older one"
    carry(home, place, shutil.move)
    database = sqlite3.connect(place / "mlflow.db")
    database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    database.commit()
    enter(place)
    with pytest.raises(TrackingError, match="another version of MLflow") as caught:
        connection.connect()
    assert f"`mlflow db upgrade 'sqlite:///{place}/mlflow.db'`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_that_does_not_answer_is_one_line(home, monkeypatch):
    from balle_li.tracking import connection

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    with pytest.raises(TrackingError, match="MLflow does not answer") as caught:
        connection.connect()
    assert "\n" not in str(caught.value)
