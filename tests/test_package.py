"""The package as pip installs it: a wheel in an environment that holds the codec's own dependencies and nothing else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from small_project import ROOT

MEGABYTES = 160
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def build(kind: str, out: Path, source: Path) -> Path:
    """A `wheel` or an `sdist` of the tree `source`, in the folder `out`."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return out / answer.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT / "src", folder / "tree/src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in BUILT_FROM:
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / "tree" / name)
    sdist = build("sdist", folder / "dist", folder / "tree")
    shutil.unpack_archive(sdist, folder, filter="data")
    return build("wheel", folder / "dist", folder / sdist.name.removesuffix(".tar.gz"))


def closure(requirements: Sequence[str]) -> dict[str, Distribution]:
    """The installed distributions that these requirements bring, with those that they need in turn."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        extras = ["", *wanted.extras]
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(wanted.name)
        found[name] = found.get(name) or distribution(name)
        for text in found[name].requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                needed.marker = None
                if canonicalize_name(needed.name) not in found:
                    waiting.append(needed)
    return found


@pytest.fixture(scope="module")
def requirements(wheel: Path) -> list[str]:
    """Those of the wheel without extras."""
    with ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [text for text in needed if "extra ==" not in text]


@pytest.fixture(scope="module")
def environment(wheel: Path, requirements: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; its dependencies are links to this environment's: copying torch takes minutes."""
    folder = tmp_path_factory.mktemp("codec") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for installed in closure(requirements).values():
        for name in {file.parts[0] for file in installed.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / name).is_symlink():
                (site / name).symlink_to(Path(str(installed.locate_file(name))))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    checked = subprocess.run([*pip, "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    return folder


def run(environment: Path, here: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment in the folder `here`, as somebody whose home is empty and who has no checkout."""
    variables = {
        "PATH": f"{environment}/bin:/usr/bin:/bin",
        "HOME": str(here),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    return subprocess.run(command, cwd=here, env=variables, capture_output=True, text=True)


def test_the_codec_alone_compresses_decompresses_and_opens_with_pillow(environment: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    for command in (
        ("balle-li", "compress", "photo.png", "photo.bli", "--quality", "60"),
        ("balle-li", "decompress", "photo.bli", "back.png"),
        ("balle-li", "info", "photo.bli"),
        ("python", "-c", "import balle_li; from PIL import Image; Image.open('photo.bli').save('pillow.png')"),
    ):
        answer = run(environment, tmp_path, *command)
        assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "back.png").read_bytes() == (tmp_path / "pillow.png").read_bytes()
    assert run(environment, tmp_path, "python", "-c", "import pandas").returncode != 0, "more than the codec is there"


@pytest.mark.parametrize("room", ["data", "evaluation", "tracking", "training"])
def test_what_belongs_to_the_workflow_says_what_to_install(environment: Path, tmp_path: Path, room: str) -> None:
    answer = run(environment, tmp_path, "python", "-c", f"import balle_li.{room}")
    assert answer.stderr.splitlines()[-1].endswith("pip install 'balle-li[workflow]'")


def test_a_registrys_model_needs_the_workflow(environment: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    answer = run(environment, tmp_path, "balle-li", "compress", "photo.png", "--model", "models:/balle-li@champion")
    (line,) = answer.stderr.splitlines()
    assert answer.returncode == 1 and line.endswith("pip install 'balle-li[workflow]'")


def test_without_torch_the_codec_is_small(wheel: Path, requirements: list[str]) -> None:
    torch = closure([text for text in requirements if text.startswith("torch")])
    others = closure([text for text in requirements if not text.startswith("torch")])
    files = [
        file.locate()
        for name, installed in others.items()
        if name not in torch
        for file in installed.files or []
        if "__pycache__" not in file.parts
    ]
    with ZipFile(wheel) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    size += sum(Path(str(file)).stat().st_size for file in files if Path(str(file)).is_file())
    assert size < MEGABYTES * 1e6, f"{size / 1e6:.0f} MB"


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    listing = subprocess.run(["git", "ls-files", "-z", "src"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {name.removeprefix("src/") for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()}
    with ZipFile(wheel) as archive:
        assert tracked - set(archive.namelist()) == set()
