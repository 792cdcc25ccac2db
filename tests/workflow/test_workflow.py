"""The commands users type, run for real at a small size."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_project import HEADLINE, stages_run

pytestmark = pytest.mark.workflow


def test_repro_makes_everything_and_leaves_git_clean_but_for_the_lock(project):
    assert (project.path / "data/05_reports/evaluation/metrics.json").is_file()
    assert json.loads((project.path / "data/05_reports/registration.json").read_text())["promoted"] is True
    assert project.run("git status --porcelain").stdout.split() == ["??", "dvc.lock"]
    project.run("git add dvc.lock && git commit -qm lock")


def test_repro_again_runs_nothing(project):
    assert stages_run(project.run("dvc repro").stdout) == []


def test_the_style_of_the_report_is_no_reason_to_measure_or_register_again(project):
    with (project.path / "src/balle_li/comparison/templates/report.css").open("a") as file:
        file.write("h1 { color: black; }\n")
    assert stages_run(project.run("dvc repro").stdout) == ["report"]
    assert (project.path / "data/05_reports/report/pictures.png").is_file()
    project.run("git checkout -q src dvc.lock && dvc checkout -q")


def test_one_experiment_is_one_run_with_everything_in_it(project):
    (run,) = project.mlflow_runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["lmbda"] == "0.008" and run.data.params["train.steps"] == "30"
    assert run.data.metrics.keys() >= HEADLINE
    assert run.data.tags.keys() >= {"git.commit", "data.dvc_hash"}
    files = {path.name for path in (project.path / "mlruns").rglob("*") if path.is_file()}
    assert files >= {"rd_curve.png", "pictures.png", "MLmodel", "model.safetensors", "training.json"}


def test_an_experiment_with_another_lmbda_retrains_and_measures_only(project):
    answer = project.run("dvc exp run -n double -S lmbda=0.02")
    assert sorted(stages_run(answer.stdout)) == ["evaluate", "register", "report", "train"]
    runs = project.mlflow_runs()
    assert [run.data.params["lmbda"] for run in runs] == ["0.008", "0.02"]
    assert runs[1].data.tags["dvc.exp_name"] == "double"
    for table, columns in (("exp show --only-changed --drop 'data/|src/'", 160), ("metrics show", 130)):
        found = project.run(f"COLUMNS={columns} dvc {table}").stdout
        assert "bd_ms_ssim" in found and max(map(len, found.splitlines())) <= columns, found
    shown = project.run("dvc exp show --only-changed --csv").stdout
    assert "double" in shown and "lmbda" in shown and "0.02" in shown
    registration = json.loads((project.path / "data/05_reports/registration.json").read_text())
    reason = registration["reason"]
    assert "version 1, the champion" in reason
    assert registration["promoted"] is ("BD-rate" in reason and "saves bits" in reason)
    project.run("git checkout -q params.yaml dvc.lock && dvc checkout -q")


def test_an_experiment_from_the_run_cache_names_the_run_that_it_repeats(project):
    """As the README says."""
    before = project.mlflow_runs()
    answer = project.run("dvc exp run -n again -S lmbda=0.02")
    assert "is cached - skipping run" in answer.stdout and stages_run(answer.stdout) == []
    assert len(project.mlflow_runs()) == len(before)
    project.run("git checkout -q params.yaml dvc.lock && dvc checkout -q && dvc exp apply again")
    record = json.loads((project.path / "data/04_models/mlflow_run.json").read_text())
    (first,) = [run for run in before if run.data.params["lmbda"] == "0.02"]
    assert record["run_id"] == first.info.run_id
    project.run("git checkout -q params.yaml dvc.lock && dvc checkout -q")


def test_a_sweep_survives_an_experiment_that_fails_and_its_models_are_compared(project):
    command = "python scripts/sweep.py first --models balle wrong --lmbdas 0.01 --set train.init_from=null"
    answer = project.run(command, check=False)
    assert answer.returncode == 1
    assert "1 of 2 experiments finished" in answer.stdout, answer.stdout + answer.stderr
    assert "first-wrong-0.01 failed: params.yaml: model 'wrong' is unknown" in answer.stderr
    project.run("kedro run --pipeline compare --params 'compare.runs=[first]'")
    folder = project.path / "data/05_reports/comparison"
    comparison = json.loads((folder / "comparison.json").read_text())
    assert [run["name"] for run in comparison["runs"].values()] == ["first-balle-0.01"]
    assert "first-balle-0.01" in (folder / "report.html").read_text()


def test_a_killed_training_resumes_where_it_was_in_the_same_run(project):
    before = len(project.mlflow_runs())
    command = "kedro run --pipeline train --params train.steps=400,train.checkpoint_minutes=0.02"
    process = subprocess.Popen(
        command, shell=True, cwd=project.path, env=project.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((project.path / ".train").glob("*/last*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    answer = project.run(command)
    assert "from step" in answer.stderr + answer.stdout, "it does not say that it resumes"
    (run,) = project.mlflow_runs()[before:]
    assert run.info.status == "FINISHED"
    training = json.loads((project.path / "data/04_models/model/training.json").read_text())
    assert training["steps"] == 400
    assert not list((project.path / ".train").glob("*/last*"))
    project.run("dvc checkout -q --force")


def test_two_processes_make_one_run_and_one_model(project):
    before = len(project.mlflow_runs())
    parameters = "train.steps=20,train.device=cpu,train.precision=fp32"
    torchrun = "python -W ignore -m torch.distributed.run --standalone --nproc-per-node 2"
    project.run(f"OMP_NUM_THREADS=1 {torchrun} -m kedro run --pipeline train --params {parameters}")
    (run,) = project.mlflow_runs()[before:]
    record = json.loads((project.path / "data/04_models/mlflow_run.json").read_text())
    assert record["run_id"] == run.info.run_id and run.info.status == "FINISHED"
    assert json.loads((project.path / "data/04_models/model/training.json").read_text())["steps"] == 20
    assert not (project.path / ".train" / record["work"]).exists()
    answer = project.run(f"{torchrun} -m kedro run --pipeline register", check=False)
    assert answer.returncode != 0 and "torchrun is for training alone" in answer.stderr
    project.run("dvc checkout -q --force")


def test_training_starts_from_a_registered_model_and_refuses_one_that_does_not_fit(project):
    command = "kedro run --pipeline train --params train.steps=2,train.init_from=models:/balle-li@champion"
    runs = len(project.mlflow_runs())
    answer = project.run(f"{command},model.N=16", check=False)
    (line,) = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
    assert answer.returncode == 1 and "balle-li-roi with N = 8, not balle-li-roi with N = 16" in line
    assert len(project.mlflow_runs()) == runs, "nothing was trained, but there is a run"
    project.run(command)
    training = json.loads((project.path / "data/04_models/model/training.json").read_text())
    assert (Path(training["train"]["init_from"]) / "model.safetensors").is_file()
    project.run("dvc checkout -q --force")


def test_a_missing_stage_is_one_line_that_names_the_command(project):
    (project.path / "data/03_patches").rename(project.path / "data/away")
    answer = project.run("kedro run --pipeline train", check=False)
    (project.path / "data/away").rename(project.path / "data/03_patches")
    assert answer.returncode == 1
    said, line = answer.stderr.strip().splitlines()
    assert said.startswith("train: makes a model")
    assert line.startswith("Error: data/03_patches is not there yet: run `kedro run --pipeline patches` first")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("kedro run --pipeline train --params train.stepz=3", "train.stepz is unknown: did you mean 'steps'?"),
        ("kedro run --pipeline train --params model.name=vgg", "model 'vgg' is unknown"),
        ("kedro run --pipeline download --params dataset.source=flickr", "data source 'flickr' is unknown"),
    ],
)
def test_a_wrong_parameter_is_one_line(project, command, message):
    answer = project.run(command, check=False)
    assert answer.returncode == 1
    (line,) = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert "Traceback" not in answer.stderr
