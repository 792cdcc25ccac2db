"""docs/extending.md: what it shows works as it stands there."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import ConfigError
from balle_li.models import registry
from balle_li.models.registry import ModelConfig, build
from balle_li.training.loop import TrainingStep
from balle_li.training.loss import RateDistortionLoss

DOCUMENT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package that the document describes, as installed."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (name, value) = re.findall(r'balle_li.models"\]\n(\w+) = "(.*?)"', DOCUMENT)[0]
    module = tmp_path / value.partition(":")[0].replace(".", "/")
    module.parent.mkdir()
    module.with_suffix(".py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_offered", lambda: {name: EntryPoint(name, value, registry.GROUP)})
    return name


def test_the_model_trains_and_codes(package, tmp_path):
    torch.manual_seed(0)
    model = build(ModelConfig(package, {"N": 8, "blocks": 1}))
    step = TrainingStep(model, RateDistortionLoss(0.01, 0.0))
    step(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), None, None)["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters())
    tables = model.eval().latent_codec.make_tables([])
    ModelFolder.of(model, tables, {"lmbda": 0.01, "structure": 0.0}, {}).save(tmp_path / "model")
    codec = Codec.load(tmp_path / "model", "cpu")
    assert codec.transforms.tiled
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    data = codec.compress(image)
    assert codec.decompress(data).size == image.size and codec.decode_latents(data).shape == (8, 4, 5)


def test_its_hyperparameters_are_checked(package):
    with pytest.raises(ConfigError, match=r"model\.block is unknown: did you mean 'blocks'\? residual takes N, blocks"):
        build(ModelConfig(package, {"N": 8, "block": 1}))
