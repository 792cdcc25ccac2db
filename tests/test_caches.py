"""Cleaning removes what is old and unused, and nothing else."""

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from balle_li.caches import clean, main

DAY = 86400


def file(path: Path, age_days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    then = time.time() - age_days * DAY
    os.utime(path, (then, then))
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    file(tmp_path / ".train/old/last.ckpt", 40)
    file(tmp_path / ".train/old/lock", 40)
    file(tmp_path / ".train/new/last.ckpt", 2)
    file(tmp_path / ".patches/old/shard.npy", 40)
    file(tmp_path / ".patches/old.lock", 40)
    file(tmp_path / "data/old", 400)
    return tmp_path


def names(home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}


def test_what_nobody_used_for_long_goes(home):
    assert clean(home, 30) == {".train": (1, 10), ".patches": (1, 5)}
    assert names(home) == {".train/new/last.ckpt", "data/old"}
    assert clean(home, 30) == {".train": (0, 0), ".patches": (0, 0)}


def test_what_is_in_use_stays(home):
    with FileLock(home / ".train/old/lock"), FileLock(home / ".patches/old.lock"):
        assert clean(home, 30)[".train"] == (0, 0)
        assert (home / ".train/old/last.ckpt").exists() and (home / ".patches/old/shard.npy").exists()


def test_a_dry_run_removes_nothing_and_does_not_make_anything_look_used(home, capsys):
    before = names(home)
    assert main(["--dry-run"]) == 0
    assert ".train: would remove 1 entries" in capsys.readouterr().out
    assert names(home) == before
    assert main([]) == 0
    assert not (home / ".train/old").exists()


def test_without_caches_there_is_nothing_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert main([]) == 0
    assert main(["--days", "-1"]) == 1
    assert "must not be negative" in capsys.readouterr().err
