"""The scripts of benchmarks/ run to their ends, at sizes at which their figures mean nothing; fuzzing is in codec/."""

import json
import os
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


@pytest.mark.parametrize("model", ["balle", "mbt2018-mean"])
def test_training(pictures: Path, model: str) -> None:
    small = ("--N", "8", "--batch", "2", "--crop", "64", "--steps", "8", "--rounds", "1")
    printed = run("training.py", pictures, "--model", model, *small, "--precisions")
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


def test_trials(pictures: Path, tmp_path: Path) -> None:
    store, out = write_store(tmp_path / "store"), tmp_path / "out"
    own = ["model.N=8", "train.crop=32", "train.batch_size=2"]
    arguments = ["--out", out, "--trial", "first", *own, "--trial", "second", *own, "train.lr=0.001"]
    arguments += ["--steps", "2", "--seeds", "1", "2", "--pictures", pictures]
    printed = run("trials.py", store, *arguments)
    for words in (r"BD-rate of second against first", r"mean +\S", r"second +2 .* grey 0\.\d+"):
        assert re.search(words, printed), printed
    models = {path: path.stat().st_mtime_ns for path in out.glob("*/model.json")}
    assert len(models) == 4
    assert run("trials.py", store, *arguments) == printed, "a second run only reads what is there"
    assert models == {path: path.stat().st_mtime_ns for path in out.glob("*/model.json")}


def test_a_trial_of_an_unknown_parameter_is_refused(pictures: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    given = ["--pictures", pictures, "--out", tmp_path, "--trial", "a", "train.speed=2"]
    command = [sys.executable, BENCHMARKS / "trials.py", store, *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "'train.speed=2'" in done.stderr and "Traceback" not in done.stderr


def test_codec_speed(pictures: Path) -> None:
    printed = run("codec_speed.py", "--pictures", pictures, "--limit", "1", "--repeats", "1", "--precisions")
    assert "against CompressAI" in printed
    assert {"float32 ", "bfloat16 "} & set(re.findall(r"^  (b?float\d\d )", printed, re.MULTILINE))


def test_kodak(pictures: Path, tmp_path: Path) -> None:
    qualities = ("20", "50", "80", "100")
    printed = run("kodak.py", "--pictures", pictures, "--limit", "1", "--out", tmp_path, "--qualities", *qualities)
    assert re.findall(r"tune psnr quality (\d+)", printed) == list(qualities)
    header = "| against | balle-li-roi, tune ms-ssim, trained for MS-SSIM | balle-li-roi, tune psnr, trained for MSE |"
    assert header in printed and re.search(r"^\| JPEG \| \S+ %, \S+ % \| \S+ %, \S+ % \|$", printed, re.MULTILINE)
    assert (tmp_path / "kodak-psnr.png").is_file() and (tmp_path / "kodak-ms-ssim.png").is_file()
    other = tiny_model_folder(tmp_path / "other")
    printed = run(
        "kodak.py",
        "--model",
        other,
        "--pictures",
        pictures,
        "--limit",
        "1",
        "--out",
        tmp_path,
        "--baseline",
        f"b={other}",
        "--codecs",
        "jpeg",
    )
    assert "| WebP |" not in printed and "| b |" in printed
    assert "| against | balle-li-roi, trained for MSE |" in printed and (tmp_path / "kodak.png").is_file()


def test_classical(pictures: Path) -> None:
    assert "webp" in run("classical.py", pictures, "--pictures", "1", "--codecs", "jpeg", "webp").lower()


def test_evaluation() -> None:
    printed = run("evaluation.py", "--pictures", "3", "6")
    assert [line.split()[:2] for line in printed.splitlines()[1:]] == [["3", "168"], ["6", "336"]]


def test_patches(shared: Path) -> None:
    assert "patches/s" in run("patches.py", shared / "labelled-photos", "--pictures", "4", "--workers", "1")


def test_regions(shared: Path, tmp_path: Path) -> None:
    other = tiny_model_folder(tmp_path / "other")
    run("regions.py", "--photos", shared / "labelled-photos", "--limit", "1", "--against", other, "--out", tmp_path)
    assert "without_boxes" in json.loads((tmp_path / "regions.json").read_text())


def test_real_files(pictures: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "turned.jpg", exif=exif, dpi=(300, 300))
    Image.new("RGBA", (40, 30), "teal").save(tmp_path / "clear.png")
    (tmp_path / "readme.pdf").write_bytes(b"%PDF-1.7")
    printed = run("real_files.py", pictures, tmp_path)
    assert "5 files, 0 failures" in printed
    assert printed.splitlines()[1].split() == ["compress", "4", "0", "1", "0"]
    assert re.search(r"^jpg +3 +0 +1 +0$", printed, re.MULTILINE)


def test_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "lock").touch()
    printed = run("set_up.py", "--lock", tmp_path / "lock", "--warm", "pip", "uv")
    assert "uv, warm" in printed and "pip / uv, warm" in printed


def test_two_at_once() -> None:
    small = ("--N", "8", "--batch", "1", "--crop", "32", "--steps", "2", "--rounds", "1", "--ways", "passive")
    assert "two at once take" in run("two_at_once.py", *small)
