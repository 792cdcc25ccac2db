"""The documentation: the site is built without a warning and reads without a network."""

import re
import shutil
import subprocess
import sys

import grimp
import pytest
from PIL import Image
from small_project import ROOT


def test_the_site_is_complete_and_needs_no_network(tmp_path):
    for name in ("docs", "src", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy2(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", "site"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    pages = {path.name: path.read_text() for path in (tmp_path / "site").glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= {name.removesuffix(".html") for name in pages}
    for shown in ("Compresses pictures with one model", "target_bpp", "BitstreamError", "likelihoods"):
        assert shown in pages["api.html"]
    for name, page in pages.items():
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="?(https?:[^" >]*)', page)
        assert fetched == [], f"{name} fetches from elsewhere"


def code_blocks(language: str) -> list[str]:
    """The README's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with what the README's commands name."""
    (tmp_path / "holiday").mkdir()
    photo = Image.effect_noise((460, 420), 60).convert("RGB")
    for name in ("photo.jpg", "holiday/one.jpg", "holiday/two.png"):
        photo.save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_commands_of_the_codec_run(here):
    (block,) = (block for block in code_blocks("bash") if "balle-li info" in block)
    program = f"{sys.executable} -m balle_li.interfaces.cli"
    commands = [line.split("  #")[0].strip() for line in block.splitlines() if line.startswith("balle-li")]
    assert len(commands) >= 5
    for command in commands:
        answer = subprocess.run(program + command.removeprefix("balle-li"), shell=True, capture_output=True, text=True)
        assert answer.returncode == 0, f"{command}\n{answer.stderr}"
    assert (here / "photo.bli").stat().st_size <= 40_000
    assert {path.name for path in (here / "compressed").iterdir()} == {"one.bli", "two.bli"}
    assert Image.open(here / "photo.png").size == (460, 420)


def test_the_readmes_python_runs(here):
    (block,) = code_blocks("python")
    exec(block, {})
    assert Image.open(here / "photo.png").size == (460, 420)


def test_the_picture_of_the_house_is_true():
    drawing = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)[1]
    rooms = set(re.findall(r"^    (\w+)\[", drawing, re.MULTILINE)) - {"dvc", "ground"}
    packages = {path.parent.name for path in (ROOT / "src/balle_li").glob("*/__init__.py")} | {"pipelines"}
    assert rooms == packages
    graph = grimp.build_graph("balle_li", "pipelines", cache_dir=None)
    for start, ends in re.findall(r"^    (\w+) --> (.*)$", drawing, re.MULTILINE):
        for end in ends.split(" & "):
            inside = {"pipelines"} if start == "pipelines" else {f"balle_li.{start}"}
            modules = {module for room in inside for module in graph.find_descendants(room) | {room}}
            imported = {found for module in modules for found in graph.find_modules_directly_imported_by(module)}
            ground = (
                f"balle_li.{name}"
                for name in ("boxes", "config", "errors", "files", "image_io", "quality_map", "registry")
            )
            targets = tuple(ground) if end == "ground" else (f"balle_li.{end}",)
            assert any(name == target or name.startswith(f"{target}.") for name in imported for target in targets), (
                start,
                end,
            )
