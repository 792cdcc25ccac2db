"""CompressAI's models in the stages that train, export and measure, and with the weights that CompressAI publishes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from compressai.models import FactorizedPrior
from evaluation.stages import make_stages
from PIL import Image
from training.tiny_training import run, task, weights_of

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.config import ZOO, ComputeConfig, EvaluationConfig
from balle_li.errors import ConfigError, TrainingError
from balle_li.evaluation.evaluate import evaluate
from balle_li.evaluation.measurements import MEASUREMENTS_FILE, read_measurements
from balle_li.registry import ModelConfig

SIX = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018", "cheng2020-anchor", "cheng2020-attn")
PUBLISHED = "bmshj2018-factorized-prior-1-446d5c7f.pth.tar"  # CompressAI's name for it


@pytest.fixture(scope="module")
def large_store(new_store, tmp_path_factory):
    """Patches as large as a model of CompressAI needs them."""
    return new_store(tmp_path_factory.mktemp("store") / "patches", train=2, validation=1, size=64)


def picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", SIX)
def test_each_trains_and_its_folder_codes_real_files_and_is_measured(large_store, config, tmp_path, name):
    own = config(steps=2, batch_size=2, crop=64, validate_every=2)
    model = ModelConfig(name, {"N": 4})
    before = task(large_store, own, model=model).new_model().state_dict()
    after = run(large_store, own, tmp_path, model=model)
    moved = {key.split(".")[0] for key, weight in after.items() if not torch.equal(weight, before[key])}
    assert moved == {"g_a", "g_s", "latent_codec"}
    encoder = Codec.load(tmp_path / "model", "cpu")
    assert encoder.trained_for == {"lmbda": 0.01, "ms_ssim_weight": 400}
    image = picture(50, 66)
    (tmp_path / "picture.bli").write_bytes(encoder.compress(image))
    decoder = Codec.load(tmp_path / "model", "cpu")
    decoded = decoder.decompress((tmp_path / "picture.bli").read_bytes())
    assert decoded.size == image.size
    latents = encoder.decode_latents((tmp_path / "picture.bli").read_bytes())
    assert np.array_equal(latents, decoder.decode_latents((tmp_path / "picture.bli").read_bytes()))
    assert np.array_equal(np.asarray(decoded), np.asarray(encoder.decompress((tmp_path / "picture.bli").read_bytes())))
    bits = encoder.analyse(image).bits
    assert bits.shape == (4, 5) and 0 < bits.sum() < 8 * (tmp_path / "picture.bli").stat().st_size

    stages = make_stages(tmp_path / "stages", {"small": image.size[::-1]})
    measured = EvaluationConfig(
        metrics=["psnr"],
        qualities=[],
        jpeg_qualities=[],
        codecs=[],
        baselines=[],
        extra_sets={},
        device="cpu",
        pictures_on_page=1,
    )
    alone = ComputeConfig(scheduler=None, workers=1)
    evaluate(stages / "raw", stages / "curated", tmp_path / "model", {}, measured, {}, alone, tmp_path / "report")
    table = read_measurements(tmp_path / "report" / MEASUREMENTS_FILE)
    (row,) = table[table["codec"] == name].to_dict("records")
    assert row["stream_bytes"] == (tmp_path / "report" / "streams" / "small.bli").stat().st_size
    assert row["psnr"] > 0 and not row["exact"]


def test_the_crop_is_a_multiple_of_what_the_model_needs(large_store, config, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.crop is 32, must be a multiple of 64 for mbt2018-mean"):
        run(large_store, config(crop=32), tmp_path, model=ModelConfig("mbt2018-mean", {"N": 4}))


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder of torch's that holds weights where CompressAI's loading expects those of bmshj2018-factorized, quality 1."""
    torch.manual_seed(0)
    net = FactorizedPrior(128, 192)
    net.update(update_quantiles=True)
    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(net.state_dict(), home / "hub" / "checkpoints" / PUBLISHED)
    return home


def published_weights(home: Path) -> dict[str, torch.Tensor]:
    return torch.load(home / "hub" / "checkpoints" / PUBLISHED, weights_only=True)


def test_a_pretrained_model_is_exported_as_it_was_published(large_store, config, published, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(published))
    model = ModelConfig("bmshj2018-factorized", {"quality": 1, "pretrained": True})
    weights = run(large_store, config(), tmp_path, model=model)
    expected = published_weights(published)
    assert all(torch.equal(weights[key], expected[key]) for key in weights if key.startswith(("g_a.", "g_s.")))
    assert torch.equal(
        weights["latent_codec.net.entropy_bottleneck.matrices.0"], expected["entropy_bottleneck.matrices.0"]
    )
    training = json.loads((tmp_path / "model" / "training.json").read_text())
    assert training["steps"] == 0 and training["training"] == []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    folder = ModelFolder.load(tmp_path / "model")  # the weights are its own now
    assert folder.trained_for == {"lmbda": 0.0018, "ms_ssim_weight": 0.0}
    assert folder.hyperparameters == {"quality": 1, "pretrained": True}


def test_training_starts_from_the_published_weights(large_store, config, published, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(published))
    own = config(steps=1, batch_size=2, crop=64, validate_every=1, lr_from_weights=1e-6, init_from=ZOO)
    weights = run(large_store, own, tmp_path, model=ModelConfig("bmshj2018-factorized", {"quality": 1}))
    expected = published_weights(published)["g_a.0.weight"]
    assert torch.allclose(weights["g_a.0.weight"], expected, atol=1e-4)
    assert ModelFolder.load(tmp_path / "model").trained_for == {"lmbda": 0.01, "ms_ssim_weight": 400}


def test_weights_that_cannot_be_had_are_one_line_that_says_what_to_do(store, config, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*arguments, **keywords):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    start = config(init_from=ZOO)
    for model, arguments, words in (
        (
            "bmshj2018-factorized",
            {"quality": 1},
            f"no route to host.*connect to the internet, or put https.*{PUBLISHED} into",
        ),
        ("bmshj2018-factorized", {"N": 4}, "of certain sizes: set model.quality, 1 to 8"),
        ("balle", {"N": 4}, "there are no published weights of balle"),
    ):
        with pytest.raises(TrainingError, match=words) as caught:
            task(store, start, model=ModelConfig(model, arguments)).new_model()
        assert "\n" not in str(caught.value)


def test_the_weights_of_another_folder_start_a_training(large_store, config, tmp_path):
    own, model = config(steps=1, batch_size=2, crop=64, validate_every=1), ModelConfig("bmshj2018-hyperprior", {"N": 4})
    first = run(large_store, own, tmp_path / "first", model=model)
    again = config(
        steps=1,
        batch_size=2,
        crop=64,
        validate_every=1,
        lr_from_weights=1e-9,
        init_from=str(tmp_path / "first" / "model"),
    )
    second = run(large_store, again, tmp_path / "second", model=model)
    assert torch.allclose(first["g_a.0.weight"], second["g_a.0.weight"], atol=1e-6)
    assert weights_of(tmp_path / "second" / "model").keys() == first.keys()
