"""Where a run comes from: the commit, the DVC experiment, the data."""

import os
import subprocess
from pathlib import Path

from balle_li.files import project_home, workspace

DATA_STAGE = "patches"


def tags() -> dict[str, str]:
    """Tags for the run of this process, which works in the checkout or in DVC's temporary copy of it.

    `git.commit`; `dvc.exp_name` and `dvc.baseline` inside a DVC experiment; `data.dvc_hash`, what dvc.lock says of
    the patch store's content. A tag whose source is not there is left out.
    """
    found = {
        "git.commit": _git_commit(),
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
        "data.dvc_hash": _locked_hash(workspace() / "dvc.lock"),
    }
    return {name: value for name, value in found.items() if value}


def _git_commit() -> str | None:
    command = ["git", "-C", str(project_home()), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def _locked_hash(lock: Path) -> str | None:
    import yaml

    try:
        stages = yaml.safe_load(lock.read_text()).get("stages", {})
    except (OSError, yaml.YAMLError, AttributeError):
        return None
    outs = stages.get(DATA_STAGE, {}).get("outs", [])
    return outs[0].get("md5") if outs else None
