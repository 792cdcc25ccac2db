import logging

import pytest

from balle_li.errors import TrackingError


def make_run(name, parameters, evaluated=True, files=("metrics.json",), status="FINISHED", tags=None):
    """A run of the default experiment; returns its id."""
    from balle_li.tracking import connection

    mlflow = connection.connect()
    mlflow.start_run(run_name=name, tags={"sweep": "first" if name == "a" else "second"} | (tags or {}))
    mlflow.log_params(parameters)
    if evaluated:
        mlflow.log_metric("test/bpp", 0.5)
        for file in files:
            mlflow.log_text("{}", f"evaluation/{file}")
    run_id = mlflow.active_run().info.run_id
    mlflow.end_run(status)
    return run_id


def test_finished_and_evaluated_runs_are_found_with_their_files(home):
    from balle_li.tracking.runs import finished_runs

    first, second = make_run("a", {"lmbda": 0.01}), make_run("sweep-1", {"lmbda": 0.02})
    make_run("training", {}, evaluated=False)
    make_run("broken", {}, status="FAILED")
    found = finished_runs("balle-li", [], "")
    assert [run.run_id for run in found] == [first, second]
    assert [run.parameters["lmbda"] for run in found] == ["0.01", "0.02"]
    assert all((run.evaluation / "metrics.json").is_file() and run.source.endswith("evaluation") for run in found)
    assert [run.name for run in finished_runs("balle-li", [], "tags.sweep = 'second'")] == ["sweep-1"]
    tagged = make_run("balle, lmbda 0.01, 2026-03-01 14:05 (third)", {}, tags={"dvc.exp_name": "third"})
    (by_name,) = finished_runs("balle-li", ["third"], "")
    assert (by_name.run_id, by_name.name) == (tagged, "third")
    assert [run.name for run in finished_runs("balle-li", ["sweep", first[:8]], "")] == ["sweep-1", "a"]


def test_a_run_that_lost_its_files_is_named_and_left_out(home, caplog):
    from balle_li.tracking.runs import finished_runs

    make_run("a", {})
    lost = make_run("lost", {}, files=())
    with caplog.at_level(logging.WARNING):
        assert [run.name for run in finished_runs("balle-li", [], "")] == ["a"]
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert lost in line and "\n" not in line


def test_of_too_many_runs_the_newest_are_taken_and_it_is_said(home, monkeypatch, caplog):
    from balle_li.tracking import runs

    made = [make_run(name, {}) for name in "abc"]
    with caplog.at_level(logging.WARNING):
        assert [run.run_id for run in runs.finished_runs("balle-li", [], "")] == made
        assert "newest" not in caplog.text
        monkeypatch.setattr(runs, "_MOST_RUNS", 2)
        assert [run.run_id for run in runs.finished_runs("balle-li", [], "")] == made[1:]
    assert "only the newest 2 runs are looked at; narrow them with compare.filter" in caplog.text


@pytest.mark.parametrize(
    ("experiment", "names", "query", "message"),
    [
        ("balle-li", [], "", "no finished run .* make one with `dvc repro`"),
        ("other", [], "", "no experiment 'other'; correct compare.experiment"),
        ("balle-li", ["gone"], "", "'gone'; `make ui` shows them"),
        ("balle-li", [], "lmbda is small", "compare.filter 'lmbda is small' cannot be used"),
    ],
)
def test_what_cannot_be_found_is_one_line(home, experiment, names, query, message):
    from balle_li.tracking.runs import finished_runs

    with pytest.raises(TrackingError, match=message) as caught:
        finished_runs(experiment, names, query)
    assert "\n" not in str(caught.value)


def test_a_comparison_is_a_run_of_its_own_that_is_never_compared(home, tmp_path):
    from balle_li.tracking import connection
    from balle_li.tracking.runs import finished_runs, log_comparison

    compared = make_run("a", {})
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<html>")
    run_id = log_comparison(tmp_path / "report", [compared], "balle-li")
    mlflow = connection.connect()
    assert mlflow.get_run(run_id).data.tags["kind"] == "comparison"
    assert mlflow.get_run(run_id).data.tags["compared_runs"] == compared
    assert [item.path for item in mlflow.artifacts.list_artifacts(run_id=run_id)] == ["report.html"]
    assert [run.run_id for run in finished_runs("balle-li", [], "")] == [compared]
