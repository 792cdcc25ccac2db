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
    assert (home / "mlruns").is_dir()
    assert [item.path for item in mlflow.artifacts.list_artifacts(run_id=run_id)] == ["training"]


def test_the_status_tells_how_a_run_ended(home):
    from balle_li.tracking import connection, run

    run_id = run.open_run({}, {})
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with pytest.raises(error), run.attached(run_id, {}, {}):
            raise error
        assert connection.connect().get_run(run_id).info.status == status


def test_a_run_of_another_machine_gets_one_stand_in(home):
    from balle_li.tracking import run

    foreign = "0" * 32
    first = run.open_run({"seed": 0}, {}, foreign)
    assert first != foreign
    assert run.open_run({"seed": 0}, {}, foreign) == first


def test_an_address_that_does_not_answer_is_one_line(home, monkeypatch):
    from balle_li.errors import TrackingError
    from balle_li.tracking import connection

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    with pytest.raises(TrackingError, match="MLflow does not answer") as caught:
        connection.connect()
    assert "\n" not in str(caught.value)


def test_tags_name_commit_experiment_and_data(home, monkeypatch):
    from balle_li.tracking import provenance

    (home / "dvc.lock").write_text("stages: {patches: {outs: [{path: data/03_patches, md5: 123.dir}]}}")
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-seal")
    tags = provenance.tags()
    assert tags == {"dvc.exp_name": "puffy-seal", "data.dvc_hash": "123.dir"}
