"""A copy of the project, with a training of seconds, in which the commands of the README are really run."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    ("patches", "per_megapixel"): 12,
    ("model", "N"): 8,
    ("train", "steps"): 30,
    ("train", "batch_size"): 4,
    ("train", "crop"): 64,
    ("train", "validate_every"): 15,
    # Down to 1, so that JPEG has files as bad as those of so short a training, and there is a BD-rate.
    ("evaluate", "jpeg_qualities"): [1, 8, 16, 32],
    ("evaluate", "codecs"): ["webp"],
    ("evaluate", "baselines"): [],
}
HEADLINE = {"test/bpp", "test/psnr", "test/ms_ssim", "test/rd_cost"}
"""Metrics that every run of the whole workflow has."""


@dataclass
class Project:
    """A checkout and how to run commands in it."""

    path: Path
    environment: dict[str, str]

    def run(self, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command line; `check` asserts that it exits with 0 and shows its output if not."""
        answer = subprocess.run(
            command, shell=True, cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=600
        )
        if check:
            assert answer.returncode == 0, f"{command}\n{answer.stdout[-3000:]}\n{answer.stderr[-3000:]}"
        return answer

    def mlflow_runs(self) -> list:
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{self.path / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("balle-li")
        return client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])


def make_project(path: Path, changes: dict) -> Project:
    """Copy what git would take of this checkout, change parameters, and commit the copy."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    parameters = yaml.safe_load((path / "params.yaml").read_text())
    for (section, key), value in changes.items():
        parameters[section][key] = value
    (path / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    environment = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"DVC_|MLFLOW_|FIFTYONE_|PYTHONPATH|GIT_", name)
    }
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    project = Project(path, environment)
    project.run("git init -q -b main . && git add -A && git commit -qm start")
    return project


def stages_run(output: str) -> list[str]:
    """The stages that ran, but for `inputs`, which looks at the users' folders each time."""
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    return [stage for stage in ran if stage != "inputs"]
