"""CompressAI's image models, the lightest and the heaviest, through all stages, and compared with one another.

`tests/training/test_compressai.py` trains, codes and measures all six.
"""

import json

import pytest
from small_project import HEADLINE, SMALL, Project, make_project, stages_run

pytestmark = pytest.mark.workflow

PEERS = ("bmshj2018-factorized", "cheng2020-attn")
SMALLEST = {
    ("train", "steps"): 2,
    ("train", "validate_every"): 2,
    ("evaluate", "codecs"): [],
    ("evaluate", "baselines"): ["released"],
    ("evaluate", "jpeg_qualities"): [50],
    ("evaluate", "qualities"): [50],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("peers") / "project", SMALL | SMALLEST)


@pytest.mark.parametrize("name", PEERS)
def test_each_goes_through_all_stages(project: Project, name: str) -> None:
    answer = project.run(f"dvc exp run -n {name} -S model.name={name}")
    assert stages_run(answer.stdout)[-4:] == ["train", "evaluate", "register", "report"]
    run = project.mlflow_runs()[-1]
    assert run.info.status == "FINISHED" and run.data.metrics.keys() >= HEADLINE
    assert run.data.params["model.name"] == name and run.data.tags["dvc.exp_name"] == name
    metrics = json.loads((project.path / "data/05_reports/evaluation/metrics.json").read_text())
    assert list(metrics["baselines"]) == ["released"] and metrics["kind"] == "ms-ssim"
    registration = json.loads((project.path / "data/05_reports/registration.json").read_text())
    assert registration["run_id"] == run.info.run_id
    assert "a stream decodes on the kind of processor" in (project.path / "data/05_reports/MODEL_CARD.md").read_text()
    model = json.loads(project.run("balle-li models data/04_models/model --json").stdout)
    assert model["name"] == name and model["portable"] is False


def test_its_version_names_compressai_among_its_requirements(project: Project) -> None:
    requirements = [file.read_text() for file in (project.path / "mlruns").rglob("requirements.txt")]
    assert len(requirements) == len(PEERS) and all("compressai==" in text for text in requirements)


def test_a_stream_says_where_it_decodes_and_decodes_here(project: Project) -> None:
    project.run("balle-li compress data/01_raw/images/rocket.jpg photo.bli --model data/04_models/model")
    info = project.run("balle-li info photo.bli").stdout
    assert "decodes      on the kind of processor, and with the number of threads, that coded it" in info
    project.run("balle-li decompress photo.bli photo.png --model data/04_models/model")


def test_they_are_compared_with_one_another_and_filtered_by_their_kind(project: Project) -> None:
    project.run("kedro run --pipeline compare")
    compared = json.loads((project.path / "data/05_reports/comparison/comparison.json").read_text())
    assert {run["model"] for run in compared["runs"].values()} == set(PEERS)
    assert {run["kind"] for run in compared["runs"].values()} == {"ms-ssim"}
    answer = project.run("kedro run --pipeline compare --params compare.kind=mse", check=False)
    assert answer.returncode == 1 and "Error: no run is of the kind mse; set compare.kind to any" in answer.stderr
