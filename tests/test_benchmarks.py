"""The scripts of benchmarks/ run to their ends, at sizes at which their figures mean nothing; fuzzing is in codec/."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_model_folder
from training.conftest import write_store

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
SIDE = 256


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two smooth random PNG pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_script_is_in_the_readme() -> None:
    told = (BENCHMARKS / "README.md").read_text()
    scripts = {path.name for path in BENCHMARKS.glob("*.py")} - {"published.py"}
    assert {name for name in scripts if f"benchmarks/{name}" not in told} == set()


def test_training(pictures: Path) -> None:
    small = ("--N", "8", "--batch", "2", "--crop", "64", "--steps", "24", "--rounds", "1")
    printed = run("training.py", pictures, *small, "--precisions")
    assert "ratio" in printed
    assert "times as many" in printed
    assert "backward" in printed


def test_rate_distortion(pictures: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "patches")
    out = tmp_path / "out"
    run(
        "rate_distortion.py", store, "--out", out, "--steps", "2", "--crop", "32",
        "--lmbdas", "0.001", "0.01", "--pictures", pictures, "--limit", "1",
    )  # fmt: skip
    figures = json.loads((out / "rate_distortion.json").read_text())
    assert {point["codec"] for point in figures["points"]} >= {"balle", "balle-li", "balle-li-roi", "jpeg"}
    assert set(figures["bd_rate"]["balle"]) == {"balle-li", "balle-li-roi"}


def test_codec_speed(pictures: Path) -> None:
    printed = run("codec_speed.py", "--pictures", pictures, "--limit", "1", "--repeats", "1", "--precisions")
    assert "against CompressAI" in printed
    assert {"float32 ", "bfloat16 "} & set(re.findall(r"^  (b?float\d\d )", printed, re.MULTILINE))


def test_kodak(pictures: Path, tmp_path: Path) -> None:
    assert "BD-rate" in run("kodak.py", "--pictures", pictures, "--limit", "1", "--out", tmp_path)
    assert (tmp_path / "kodak.png").is_file()


def test_classical(pictures: Path) -> None:
    assert "webp" in run("classical.py", pictures, "--pictures", "1", "--codecs", "jpeg", "webp").lower()


def test_patches(shared: Path) -> None:
    assert "patches/s" in run("patches.py", shared / "labelled-photos", "--pictures", "4", "--workers", "1")


def test_regions(shared: Path, tmp_path: Path) -> None:
    other = tiny_model_folder(tmp_path / "other")
    run("regions.py", "--photos", shared / "labelled-photos", "--limit", "1", "--against", other, "--out", tmp_path)
    assert "without_boxes" in json.loads((tmp_path / "regions.json").read_text())
