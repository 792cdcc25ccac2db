"""What a new user does in the first hour, at a tiny size: no traceback, and a complete MLflow run for each experiment."""

import json
import time

import pytest
from small_project import SMALL, Project, make_project

pytestmark = pytest.mark.workflow

COMPLETE = {"test/bpp", "test/psnr", "test/rd_cost", "curves/train/loss"}
SMALLER = SMALL | {
    ("train", "steps"): 10, ("train", "validate_every"): 10, ("evaluate", "qualities"): [50], ("evaluate", "codecs"): [],
}  # fmt: skip
EXPERIMENTS = "rate-1", "rate-2"


def do(project: Project, command: str, check: bool = True) -> str:
    """Run a command; returns all that it says, which is never a traceback."""
    answer = project.run(command, check)
    said = answer.stdout + answer.stderr
    assert "Traceback" not in said and "NoneType" not in said, said
    return said


@pytest.mark.timeout(2000)
def test_the_first_hour(tmp_path):
    project = make_project(tmp_path / "project", SMALLER)
    do(project, "dvc repro")
    do(project, "git add -A && git commit -qm first")
    do(project, "dvc exp run --queue -n rate -S 'lmbda=0.005,0.02'")
    do(project, "dvc queue start -j 2")
    deadline = time.monotonic() + 900
    while (status := do(project, "dvc queue status")).count("Success") < len(EXPERIMENTS):
        assert "Failed" not in status and time.monotonic() < deadline, status
        time.sleep(2)
    project.run("dvc queue stop --kill", check=False)
    for name in EXPERIMENTS:
        do(project, f"dvc queue logs {name}")

    do(project, "dvc exp show --only-changed && dvc metrics show && dvc plots show")
    do(project, "dvc exp apply rate-2")
    record = json.loads((project.path / "data/04_models/mlflow_run.json").read_text())
    (second,) = [run for run in project.mlflow_runs() if run.info.run_id == record["run_id"]]
    assert second.data.tags["dvc.exp_name"] == "rate-2" and second.data.params["lmbda"] == "0.02"
    do(project, "dvc repro")
    do(project, "kedro run --pipeline compare")
    rollback = "PYTHONPATH=src python -m balle_li.tracking.rollback"
    assert "YES=1" in (said := do(project, rollback, check=False)) or "first champion" in said
    do(project, f"{rollback} --reason 'to try it'", check=False)

    for stage in ("train", "evaluate", "register", "report", "compare"):  # from a subfolder, the same
        do(project, f"cd pipelines/train && kedro run --pipeline {stage} --params train.tune=psnr")
    inside = [path.name for path in (project.path / "pipelines").rglob("*") if path.name.startswith((".", "ml"))]
    assert inside == [], "state lies beside the code"
    assert "YES=1" in (
        said := do(project, f"cd pipelines/train && {rollback.replace('src', '../../src')}", check=False)
    ) or ("first champion" in said)

    runs = [run for run in project.mlflow_runs() if run.data.tags.get("kind") != "comparison"]
    assert len(runs) == 1 + len(EXPERIMENTS) + 1, "the first, the queue's, and the one from the subfolder"
    for run in runs:
        assert run.info.status == "FINISHED" and run.data.metrics.keys() >= COMPLETE, run.info.run_name
        assert run.data.tags.keys() >= {"git.commit", "git.dirty"} and run.inputs.dataset_inputs
