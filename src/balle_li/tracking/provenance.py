"""Where a run comes from: the commit and what was not committed, the DVC experiment, the data."""

import os
import subprocess
from pathlib import Path

from balle_li.files import workspace

DATA_STAGE = "patches"
EVERYTHING_BUT_THE_LOCK = ("--", ".", ":(exclude)dvc.lock")
"""DVC writes dvc.lock after every stage, so that it is never committed while an experiment runs."""


def tags() -> dict[str, str]:
    """Tags for the run of this process, which works in the checkout or in DVC's temporary copy of it.

    `git.commit`, for MLflow's own pages also `mlflow.source.git.commit`, and `git.dirty`, whether anything was not
    committed; `dvc.exp_name` and `dvc.baseline` inside a DVC experiment; `data.dvc_hash`, what dvc.lock says of the patch
    store's content. A tag whose source is not there is left out.
    """
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", *EVERYTHING_BUT_THE_LOCK)
    found = {
        "git.commit": commit,
        "mlflow.source.git.commit": commit,
        "git.dirty": None if status is None else str(bool(status)).lower(),
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
        "data.dvc_hash": _locked_hash(workspace() / "dvc.lock"),
    }
    return {name: value for name, value in found.items() if value}


def uncommitted() -> str | None:
    """What sets the workspace apart from its commit: git's status and diff; None where nothing does, or git cannot say."""
    status = _git("status", "--porcelain", *EVERYTHING_BUT_THE_LOCK)
    if not status:
        return None
    return f"{status}\n\n{_git('diff', 'HEAD', *EVERYTHING_BUT_THE_LOCK) or ''}\n"


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(workspace()), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _locked_hash(lock: Path) -> str | None:
    import yaml

    try:
        stages = yaml.safe_load(lock.read_text()).get("stages", {})
    except (OSError, yaml.YAMLError, AttributeError):
        return None
    outs = stages.get(DATA_STAGE, {}).get("outs", [])
    return outs[0].get("md5") if outs else None
