"""Kedro's commands as a new user types them, in a fresh copy of the project: where they write, and what they answer."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from PIL import Image
from small_project import ROOT, SMALL, Project, make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("commands") / "project", SMALL)


def one_line(project: Project, command: str) -> str:
    """What a command that fails says, all of it."""
    answer = project.run(command, check=False)
    assert answer.returncode != 0, answer.stdout
    (line,) = [line for line in (answer.stderr + answer.stdout).splitlines() if line.strip()]
    return line


def test_from_a_subfolder_the_state_lies_in_the_project(project):
    answer = project.run("cd pipelines/train && kedro run --pipeline compare", check=False)
    assert answer.stderr.startswith("Error: no finished run")
    assert (project.path / "mlflow.db").is_file()
    answer = project.run("cd pipelines/train && kedro run --pipeline train", check=False)
    assert answer.stderr.splitlines()[-1].startswith("Error: data/03_patches is not there yet")
    assert project.run("git status --porcelain").stdout == "", "something lies where git sees it"
    assert not [path for path in (project.path / "pipelines").rglob("*") if path.name.startswith(("mlflow", ".train"))]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("kedro run --pipeline nonsense", "Error: there is no pipeline 'nonsense': known are download, curate,"),
        ("kedro run --pipelines trian", "did you mean 'train'? known are download,"),
        ("kedro run --pipeline comparee", "did you mean 'compare'?"),
        ("kedro run --runner foo", "Error: there is no runner 'foo': known are SequentialRunner, ThreadRunner,"),
        ("kedro run --runner TreadRunner", "there is no runner 'TreadRunner': did you mean 'ThreadRunner'?"),
        ("kedro run --runner json.dumps", "there is no runner 'json.dumps'"),
        ("kedro run --tags x", "Error: Pipeline contains no nodes"),
        ("kedro run --nodes x", "x"),
        ("kedro run --env prod", "conf/prod"),
        ("kedro ipython", "IPython is not part of the workflow's environment; for this command: pip install ipython"),
        ("kedro jupyter lab", "for this command: pip install jupyterlab"),
    ],
)
def test_a_wrong_command_is_one_line(project, command, message):
    assert message in one_line(project, command)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("train.stps=20", "params.yaml: train.stps is unknown: did you mean 'steps'?"),
        ("lmbda=abc", "params.yaml: lmbda must be of type float, not 'abc'"),
        ("lmbda=-1", "params.yaml: lmbda is -1, must be above 0"),
        ("lambda=0.1", "params.yaml: lambda is unknown: did you mean 'lmbda'?"),
        ("model.name=vgg", "params.yaml: model 'vgg' is unknown"),
        ("train.crop=512", "params.yaml: train.crop is 512, but patches.size is only 256"),
        ("evaluate.extra_sets.kodak=/nowhere", "evaluate.extra_sets.kodak: /nowhere is not a folder"),
    ],
)
def test_every_command_checks_all_parameters_first(project, parameters, message):
    line = one_line(project, f"kedro run --pipeline download --params {parameters}")
    assert line.startswith("Error: params.yaml: ") and message in line
    assert not (project.path / "data/01_raw").exists()


def test_stages_get_names_that_are_numbers_as_text(tmp_path):
    text = "class_weights: {1: 2.0, Dog: 1.0}\nevaluate: {extra_sets: {2024: photos}}\ncurate: 3\n"
    (tmp_path / "params.yaml").write_text(text)
    code = (
        "import sys; from balle_li.settings import ParamsYamlConfigLoader as Loader;"
        "print(Loader(sys.argv[1], runtime_params={'class_weights': {'1': 3.0}})['parameters'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "conf")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    sections = {"class_weights": {"1": 3.0, "Dog": 1.0}, "evaluate": {"extra_sets": {"2024": "photos"}}, "curate": 3}
    assert ast.literal_eval(answer.stdout) == sections


def test_checking_all_parameters_loads_nothing_heavy():
    """It runs before every command, so it has to be over at once."""
    code = (
        "import sys, yaml; from balle_li.config import Parameters, read;"
        "read(Parameters, yaml.safe_load(open('params.yaml')), '');"
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'mlflow') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_dvc_shows_its_plots_without_a_network(project):
    """Charts would need a library from the network; what is shown is pictures, no wider than the window."""
    for name in ("report/rd_curve.png", "report/pictures.png"):
        path = project.path / "data/05_reports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1680, 900)).save(path)
    project.run("dvc plots show")
    page = (project.path / "dvc_plots/index.html").read_text()
    assert "http" not in page and "<script" not in page
    assert page.count("<img") == 2 and "max-width: min(1200px, calc(100vw - 4rem))" in page
    assert all((project.path / "dvc_plots" / name).is_file() for name in re.findall(r'<img src="(.*?)"', page))
    assert project.run("git status --porcelain").stdout == ""


AWKWARD = "Été à [Rome], 2024 ~"
"""A folder's name with accents, brackets, a comma, spaces and a tilde."""


def test_lists_with_commas_and_folders_with_awkward_names_are_taken(project, tmp_path):
    """The forms that the README shows, by Kedro and by DVC, which read them in ways of their own."""
    folders = [tmp_path / AWKWARD, tmp_path / "others"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for index in range(2):
            Image.effect_noise((300, 300), 40 + 20 * number + 10 * index).save(folder / f"{number}{index}.png")
    paths = ", ".join(f'"{folder}"' for folder in folders)

    def count() -> int:
        return len(list((project.path / "data/01_raw/images").iterdir()))

    project.run(f"kedro run --pipeline download --params 'dataset.source=directory,dataset.directory.paths=[{paths}]'")
    assert count() == 4
    project.run(f"dvc exp run -S dataset.source=directory -S 'dataset.directory.paths=[{paths}]' download")
    assert count() == 4
    assert yaml.safe_load((project.path / "params.yaml").read_text())["dataset"]["directory"]["paths"] == list(
        map(str, folders)
    )
    home = f'dataset.source=directory,dataset.directory.paths=["~/{AWKWARD}"]'
    project.run(f"HOME={tmp_path} kedro run --pipeline download --params '{home}'")
    assert count() == 2
    project.run("git checkout -q params.yaml && rm -rf data/01_raw dvc.lock && git clean -fdq")


def test_a_stage_says_what_it_does(project):
    said = project.run("kedro run --pipeline download").stderr
    assert "download: brings pictures and boxes to data/01_raw (a second on two cores)" in said
    shutil.rmtree(project.path / "data/01_raw")


def test_make_help_lists_every_target(project):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    told = {line.split()[0] for line in project.run("make help").stdout.splitlines() if line.strip()}
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert targets == phony == told


def test_threads_of_a_stage_sleep_while_they_wait():
    code = "import sys, os, balle_li.settings; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["PASSIVE", "False"]
