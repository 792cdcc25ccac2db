import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest


def test_stages_of_one_experiment_share_a_run(home):
    from balle_li.tracking import connection, run

    run_id = run.open_run({"train": {"lr": 0.1}, "seed": 0}, {"git.commit": "abc"})
    with run.attached(run_id, {}, {}) as log:
        log.metrics(1, {"loss": 2.0})
        log.metrics(2, {"loss": 1.0})
        log.picture("reconstruction", 2, np.zeros((4, 4, 3), np.uint8))
    with run.attached(run_id, {}, {}) as log:
        log.metrics(0, {"bpp": 0.5})
    mlflow = connection.connect()
    found = mlflow.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 1.0, "bpp": 0.5}
    assert found.data.params == {"train.lr": "0.1", "seed": "0"}
    assert found.data.tags["git.commit"] == "abc"
    assert len(mlflow.search_runs()) == 1
    note = mlflow.get_experiment_by_name("balle-li").tags["mlflow.note.content"]
    assert "curves" in note and "kedro run --pipeline compare" in note
    assert (home / "mlruns").is_dir()
    assert [item.path for item in mlflow.artifacts.list_artifacts(run_id=run_id)] == ["training"]


def test_the_status_tells_how_a_run_ended(home):
    from balle_li.tracking import connection, run

    run_id = run.open_run({}, {})
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with pytest.raises(error), run.attached(run_id, {}, {}):
            raise error
        assert connection.connect().get_run(run_id).info.status == status


def test_sigterm_ends_the_run_and_leaves_the_training_its_own_way_to_stop(home):
    import torch

    from balle_li.tracking import connection, run
    from balle_li.training.checkpoint import STOP, Interruption

    run_id, training = run.open_run({}, {}), Interruption(60, 1, torch.device("cpu"))
    with pytest.raises(SystemExit) as caught, run.attached(run_id, {}, {}):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        with training.signals_caught():
            os.kill(os.getpid(), signal.SIGTERM)
            assert training.what_next(1) == STOP
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert connection.connect().get_run(run_id).info.status == "KILLED"


def test_class_names_that_mlflow_takes_in_no_parameters_name_are_logged(home):
    from balle_li.tracking import connection, run

    weights = {"Kitchen & dining room table": 2.0, "Chair": 0.5, "顔/face": 1.0}
    plain = {"Human face": 2.0, **{f"class {number}": 1.0 for number in range(250)}}
    for given in (weights, plain):
        run_id = run.open_run({"class_weights": given, "lmbda": 0.01}, {})
        with run.attached(run_id, {}, {}) as log:
            log.metrics(1, {"test/photos & more/bpp": 0.5})
        found = connection.connect().get_run(run_id)
        assert found.info.status == "FINISHED" and found.data.params["lmbda"] == "0.01"
        assert found.data.metrics == {"test/photos _ more/bpp": 0.5}
        if given is weights:
            assert json.loads(found.data.params["class_weights"]) == weights
        else:
            assert found.data.params["class_weights.Human face"] == "2.0" and len(found.data.params) == 252


def test_names_that_are_numbers_are_logged():
    from balle_li.tracking.run import flatten

    assert dict(flatten({"class_weights": {1: 2.0}})) == {"class_weights.1": 2.0}
    assert dict(flatten({"class_weights": {1: 2.0, "a&b": 1.0}})) == {"class_weights": '{"1": 2.0, "a&b": 1.0}'}


def test_a_run_of_another_machine_gets_one_stand_in(home):
    from balle_li.tracking import run

    foreign = "0" * 32
    first = run.open_run({"seed": 0}, {}, foreign)
    assert first != foreign
    assert run.open_run({"seed": 0}, {}, foreign) == first


def test_tags_name_commit_experiment_and_data(home, monkeypatch):
    from balle_li.tracking import run

    (home / "dvc.lock").write_text("stages: {patches: {outs: [{path: data/03_patches, md5: 123.dir}]}}")
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-seal")
    tags = run.origin_tags()
    assert tags == {"dvc.exp_name": "puffy-seal", "data.dvc_hash": "123.dir"}


def test_a_run_is_named_by_model_lmbda_and_date_and_by_its_experiment(home):
    from balle_li.tracking import connection, run

    parameters = {"model": {"name": "balle"}, "lmbda": 0.02}
    names = [
        connection.connect().get_run(run.open_run(parameters, tags)).info.run_name
        for tags in ({}, {"dvc.exp_name": "first"})
    ]
    assert re.fullmatch(r"balle, lmbda 0\.02, \d{4}-\d\d-\d\d \d\d:\d\d", names[0])
    assert names[1].endswith(" (first)")


def test_what_was_not_committed_is_kept(home):
    from balle_li.tracking import connection, run

    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=home, check=True, capture_output=True)

    assert "git.dirty" not in run.origin_tags(), "git says something of a folder that is not its own"
    (home / ".gitignore").write_text("ml*\n")
    (home / "params.yaml").write_text("lmbda: 0.01\n")
    git("init", "-q"), git("add", "-A"), git("commit", "-qm", "start")
    (home / "dvc.lock").write_text("schema: '2.0'\n")
    tags = run.origin_tags()
    assert tags["git.dirty"] == "false" and tags["mlflow.source.git.commit"] == tags["git.commit"]
    assert run.uncommitted_changes() is None
    (home / "params.yaml").write_text("lmbda: 0.02\n")
    assert run.origin_tags()["git.dirty"] == "true"
    run_id = run.open_run({}, run.origin_tags())
    diff = connection.connect().artifacts.load_text(f"runs:/{run_id}/uncommitted.diff")
    assert "-lmbda: 0.01\n+lmbda: 0.02\n" in diff


def test_curves_come_before_single_values_which_mlflow_sorts_by_name(home):
    from balle_li.tracking import connection, run

    with run.attached(run.open_run({}, {}), {}, {}, "evaluate") as log:
        log.metrics(1, {"train/loss": 1.0, "validation/bpp": 1.0})
        log.metrics(1, {"test/bpp": 1.0})
        run_id = log.run_id
    found = sorted(connection.connect().get_run(run_id).data.metrics)
    assert found[:3] == ["curves/train/loss", "curves/validation/bpp", "test/bpp"]
    assert all(name.startswith("wall/") for name in found[3:])


def test_the_data_are_inputs_of_the_run_without_dvc(home):
    from balle_li.tracking import connection, run

    with run.attached(run.open_run({}, {}), {}, {}) as log:
        log.dataset("patches", home / "data", "0" * 64, "training")
        run_id = log.run_id
    (entry,) = connection.connect().get_run(run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source) == ("patches", "0" * 36, '{"uri": "data"}')
    assert [tag.value for tag in entry.tags] == ["training"]


def test_the_use_of_the_machine_is_logged_where_mlflow_is_asked_to(home, monkeypatch, capfd):
    from balle_li.tracking import connection, run

    def history():
        return connection.connect().MlflowClient().get_metric_history(run_id, "system/cpu_utilization_percentage")

    def stage():
        with run.attached(run_id, {}, {}):
            time.sleep(1.0)

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    run_id = run.open_run({}, {})
    stage()
    assert history() == [], "it is not asked to"
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    stage()
    first = len(history())
    stage()
    steps = [value.step for value in history()]
    assert 0 < first < len(steps) and steps == list(range(len(steps))), "the second stage goes on where the first ended"
    found = connection.connect().get_run(run_id)
    assert found.info.status == "FINISHED" and "system/system_memory_usage_percentage" in found.data.metrics
    monkeypatch.setattr("mlflow.system_metrics.system_metrics_monitor.SystemMetricsMonitor.start", pytest.fail)
    run.open_run({}, {})
    assert "monitoring" not in capfd.readouterr().err


def test_training_evaluation_and_waiting_are_timed_apart(home):
    from balle_li.tracking import connection, run

    run_id = run.open_run({}, {})
    with pytest.raises(KeyboardInterrupt), run.attached(run_id, {}, {}, "train"):
        time.sleep(0.2)
        raise KeyboardInterrupt
    for stage, seconds in (("train", 0.3), ("evaluate", 0.1)):
        time.sleep(0.5)
        with run.attached(run_id, {}, {}, stage):
            time.sleep(seconds)
    found = connection.connect().get_run(run_id).data.metrics
    assert found.keys() == {"wall/train_seconds", "wall/evaluate_seconds", "wall/waiting_seconds"}
    assert 0.5 <= found["wall/train_seconds"] < 0.9, "an interrupted training counts with what went on from it"
    assert 0.1 <= found["wall/evaluate_seconds"] < 0.4
    assert found["wall/waiting_seconds"] >= 1.0
