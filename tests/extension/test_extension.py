"""A package outside the repository adds models: they train, code, are evaluated and registered as the package's own."""

import json
import os
from pathlib import Path

import pytest
from small_project import SMALL, Project, make_project

pytestmark = pytest.mark.workflow

SOURCE = '''
"""Models with residual blocks and attention, as somebody else would write them."""

import torch
from torch import Tensor, nn

from balle_li.latents.factorized import FactorizedLatents
from balle_li.models.base import CompressionModel
from balle_li.models.layers import GDN, conv, deconv


class Residual(nn.Module):
    """x + conv(relu(conv(x)))."""

    reach = 2

    def __init__(self, N: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(conv(N, N, kernel=3, stride=1), nn.ReLU(), conv(N, N, kernel=3, stride=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class LocalAttention(nn.Module):
    """A gate of a place's surroundings."""

    reach = 2

    def __init__(self, N: int) -> None:
        super().__init__()
        self.trunk, self.mask = Residual(N), nn.Sequential(Residual(N), conv(N, N, kernel=1, stride=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.trunk(x) * self.mask(x)


class GlobalAttention(nn.Module):
    """Every place heeds all others. It declares no reach, so pictures are coded whole."""

    def __init__(self, N: int) -> None:
        super().__init__()
        self.queries, self.keys, self.values = (conv(N, N, kernel=1, stride=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).flatten(2).transpose(1, 2) for part in (self.queries, self.keys, self.values))
        heeded = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + heeded.transpose(1, 2).reshape(x.shape)


class Residuals(CompressionModel):
    downsampling = 8
    attention = LocalAttention

    def __init__(self, N: int, blocks: int = 1) -> None:
        super().__init__()
        self.g_a = nn.Sequential(
            conv(3, N, kernel=5, stride=2), GDN(N), *(Residual(N) for _ in range(blocks)),
            conv(N, N, kernel=5, stride=2), self.attention(N), conv(N, N, kernel=5, stride=2),
        )
        self.latent_codec = FactorizedLatents(N)
        self.g_s = nn.Sequential(
            deconv(N, N, kernel=5, stride=2), self.attention(N), deconv(N, N, kernel=5, stride=2),
            *(Residual(N) for _ in range(blocks)), GDN(N, inverse=True), deconv(N, 3, kernel=5, stride=2),
        )


class Attentive(Residuals):
    attention = GlobalAttention
'''
MODELS = {"residuals": "Residuals", "attentive": "Attentive"}


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The installed package: what pip would leave on the path."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "their_models.py").write_text(SOURCE)
    facts = folder / "their_models-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n")
    lines = [f"{name} = their_models:{cls}" for name, cls in MODELS.items()]
    (facts / "entry_points.txt").write_text("\n".join(["[balle_li.models]", *lines, ""]))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory, package) -> Project:
    """The stages have run with the model that can be tiled."""
    changes = {("model", "name"): "residuals", ("model", "blocks"): 2, ("train", "steps"): 10}
    changes |= {("train", "validate_every"): 10, ("evaluate", "codecs"): [], ("evaluate", "jpeg_qualities"): [16]}
    project = make_project(tmp_path_factory.mktemp("extension") / "project", SMALL | changes)
    project.environment["PYTHONPATH"] = f"{project.path / 'src'}{os.pathsep}{package}"
    project.run("dvc repro")
    return project


def without_package(project: Project) -> Project:
    return Project(project.path, project.environment | {"PYTHONPATH": str(project.path / "src")})


def test_it_trains_and_is_exported_evaluated_and_registered(project):
    description = json.loads((project.path / "data/04_models/model/model.json").read_text())
    assert description["model"] == {"name": "residuals", "N": 8, "blocks": 2}
    training = json.loads((project.path / "data/04_models/model/training.json").read_text())
    assert training["model"] == {"name": "residuals", "N": 8, "blocks": 2} and training["steps"] == 10
    metrics = json.loads((project.path / "data/05_reports/evaluation/metrics.json").read_text())
    assert metrics["model"]["psnr"] > 5 and metrics["model"]["bpp"] > 0
    registration = json.loads((project.path / "data/05_reports/registration.json").read_text())
    assert registration["promoted"] is True
    (run,) = project.mlflow_runs()
    assert (run.data.params["model.name"], run.data.params["model.blocks"]) == ("residuals", "2")
    assert "residuals" in (project.path / "data/05_reports/MODEL_CARD.md").read_text()


def there_and_back(project: Project, model: str) -> None:
    picture = "data/01_raw/images/rocket.jpg"
    command = "python -m balle_li.interfaces.cli"
    project.run(f"{command} compress {picture} photo.bli --force --model {model}")
    project.run(f"{command} decompress photo.bli photo.png --force --model {model}")
    size = project.run("python -c \"from PIL import Image; print(Image.open('photo.png').size)\"").stdout.strip()
    assert size == "(640, 427)"


@pytest.mark.parametrize("model", ["data/04_models/model", "models:/balle-li@champion"])
def test_the_command_codes_with_it(project, model):
    there_and_back(project, model)


def test_without_the_package_its_folder_is_one_line(project):
    answer = without_package(project).run("python -m balle_li.interfaces.cli models data/04_models/model", check=False)
    assert answer.returncode == 1
    (line,) = answer.stderr.strip().splitlines()
    assert "'residuals' is unknown" in line and "once the package is installed" in line


def test_its_hyperparameters_are_checked(project):
    answer = project.run("kedro run --pipeline train --params model.block=1", check=False)
    (line,) = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
    assert answer.returncode == 1 and "model.block is unknown: did you mean 'blocks'?" in line


def test_a_model_that_cannot_be_tiled_codes_pictures_whole(project):
    project.run("kedro run --pipeline train --params model.name=attentive,model.blocks=1")
    there_and_back(project, "data/04_models/model")
    program = (
        "from balle_li.codec.codec import Codec\nfrom balle_li.errors import BalleLiError\nfrom PIL import Image\n"
        "codec = Codec.load('data/04_models/model', 'cpu')\nassert not codec.transforms.tiled\n"
        "try:\n    codec.compress(Image.new('RGB', (8192, 4096)))\n"
        "except BalleLiError as error:\n    print(error)\n"
    )
    (project.path / "whole.py").write_text(program)
    assert "attentive codes pictures in one piece" in project.run("python whole.py").stdout
    (project.path / "whole.py").unlink()
