"""scripts/setup.sh and the Makefile, in checkouts that were copied, and in an archive without git."""

import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from small_project import ROOT

PIP = """
import sys
from pathlib import Path
Path(sys.prefix, "pip.log").write_text(" ".join(sys.argv[1:]))
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose environment is set up, with a pip that only notes what it is asked, and with an MLflow database."""
    checkout = tmp_path / "first"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup.sh", checkout / "scripts")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    (site / "here.pth").write_text(f"{ROOT / 'src'}\n{sysconfig.get_path('purelib')}\n")
    (site / "pip").mkdir()
    (site / "pip/__init__.py").touch()
    (site / "pip/__main__.py").write_text(PIP)
    (venv / "bin/tool").write_text(f"#!{venv}/bin/python\nimport sys; print(sys.prefix)\n")
    (venv / "bin/tool").chmod(0o755)
    (venv / ".lock-hash").write_text("hash")
    (venv / ".checkout").write_text(str(checkout))
    (checkout / "mlruns").mkdir()
    database = sqlite3.connect(checkout / "mlflow.db")
    database.execute("CREATE TABLE experiments (name, artifact_location)")
    database.execute("INSERT INTO experiments VALUES ('balle-li', ?)", ((checkout / "mlruns").as_uri(),))
    database.commit()
    return checkout


def set_up(checkout):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DVC_ROOT")}
    command = ["bash", "scripts/setup.sh", sys.executable, ".venv", "hash"]
    subprocess.run(command, cwd=checkout, env=environment, check=True)


def test_a_copied_checkout_is_set_up_with_its_own_environment_and_files(checkout, tmp_path):
    set_up(checkout)
    assert not (checkout / ".venv/pip.log").exists(), "a checkout that is set up is set up again"
    copy = tmp_path / "a copy"
    shutil.copytree(checkout, copy, symlinks=True)
    set_up(copy)
    assert (copy / ".venv/pip.log").read_text().endswith("--editable .")
    assert not (checkout / ".venv/pip.log").exists(), "the copy installed itself into the original"
    for place in (copy, checkout):
        assert f"{place}/.venv/bin/python" in (place / ".venv/bin/tool").read_text()
        assert f"{place}/.venv" in (place / ".venv/bin/activate").read_text()
        found = sqlite3.connect(place / "mlflow.db").execute("SELECT artifact_location FROM experiments").fetchone()
        assert found == ((place / "mlruns").as_uri(),)
    assert (copy / ".venv/.checkout").read_text().strip() == str(copy)


def test_repro_works_in_an_archive_without_git_and_with_git_later(tmp_path):
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listing.split("\0")):
        if name.startswith((".dvc", "dvc.yaml", "params.yaml", "Makefile", "scripts/", "requirements")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    stand_ins = tmp_path / "venv/bin"  # which ask DVC for the state of the stages in place of running them
    stand_ins.mkdir(parents=True)
    dvc = Path(sys.executable).with_name("dvc")
    (stand_ins / "dvc").write_text(f'#!/bin/sh\n[ "$1" = repro ] && set -- stage list --name-only\nexec {dvc} "$@"\n')
    (stand_ins / "python").write_text("#!/bin/sh\n")
    for path in stand_ins.iterdir():
        path.chmod(0o755)

    def repro():
        command = ["make", "-o", "setup", f"VENV={tmp_path / 'venv'}", "repro"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    answer = repro()
    assert answer.returncode == 0, answer.stderr
    first, *stages = answer.stdout.split("\n")
    assert "no .git is here" in first and "register" in stages
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    answer = repro()
    assert answer.returncode == 0, answer.stderr
    assert "no .git" not in answer.stdout and "no_scm" not in (tmp_path / ".dvc/config.local").read_text()
