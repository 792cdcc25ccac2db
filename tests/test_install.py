"""scripts/install.sh: uv installs the lock, with pip's mirrors; pip does where there is no uv."""

import os
import subprocess
from pathlib import Path

import pytest
from small_project import ROOT

PIP = """#!/bin/sh
# a python that answers as `python -m pip` does, and notes what it is asked
case "$*" in
    *"config --quiet get global.index-url"*) echo https://mirror.example.org/simple ;;
    *"config "*) exit 1 ;;
    *requirements-uv.lock*) exit {without_uv} ;;
    *) echo "pip $*" >> {log} ;;
esac
"""
UV = """#!/bin/sh
echo "uv $* from ${{UV_DEFAULT_INDEX:-pypi}} and ${{UV_FIND_LINKS:-nowhere}}" >> {log}
"""


def installed(tmp_path: Path, uv: str | None, without_uv: int = 0) -> str:
    """What is called to install a lock, with a python that only notes it. uv: the folder of its command, if there is one."""
    log = tmp_path / "log"
    for folder, name, text in (("bin", "python", PIP), (uv, "uv", UV)):
        if folder is not None:
            path = tmp_path / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.format(log=log, without_uv=without_uv))
            path.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    environment["PATH"] = f"{tmp_path}/elsewhere:/usr/bin:/bin"
    command = ["bash", "scripts/install.sh", str(tmp_path / "bin/python"), "the.lock"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    return log.read_text()


@pytest.mark.parametrize("uv", ["elsewhere", "bin"])
def test_uv_installs_hash_by_hash_from_pips_mirror(tmp_path: Path, uv: str) -> None:
    said = installed(tmp_path, uv)
    assert said.startswith("uv pip install") and "--require-hashes --requirement the.lock" in said
    assert f"--python {tmp_path}/bin/python" in said
    assert said.endswith("from https://mirror.example.org/simple and nowhere\n")


def test_pip_installs_where_there_is_no_uv(tmp_path: Path) -> None:
    said = installed(tmp_path, None, without_uv=1)
    assert said.startswith("pip -m pip install") and said.endswith("--require-hashes --requirement the.lock\n")


def test_uv_itself_is_locked() -> None:
    text = (ROOT / "requirements-uv.lock").read_text()
    assert text.startswith("uv==") and text.count("--hash=sha256:") > 5
