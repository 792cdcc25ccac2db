"""The weights that ship: whole, small, a start for training, and better than JPEG."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.evaluation.metrics import Pair, Psnr, ms_ssim
from balle_li.files import RELEASED_MODELS, TUNES, released_model
from balle_li.models.base import build
from balle_li.registry import ModelConfig
from balle_li.training.checkpoint import load_weights, weights_file

ROOT = Path(__file__).resolve().parents[1]
# Streams name the weights that made them by this.
FINGERPRINTS = {"ms-ssim": "a19105f820791893", "psnr": "cca6c6fedfa2d80a"}
every_tune = pytest.mark.parametrize("tune", TUNES)


def test_they_are_small_and_have_a_card_that_names_their_data():
    assert sorted(path.name for path in RELEASED_MODELS.iterdir()) == ["MODEL_CARD.md", *TUNES]
    sizes = [path.stat().st_size for tune in TUNES for path in released_model(tune).iterdir()]
    assert len(sizes) == 4 and max(sizes) < 16e6
    card = (RELEASED_MODELS / "MODEL_CARD.md").read_text()
    assert "CC BY-SA 4.0" in card and "## Limits" in card


@every_tune
def test_training_starts_from_them(tune):
    section = {"name": "balle-li-roi", "N": 64}
    model, folder = build(ModelConfig.of(section)), ModelFolder.load(released_model(tune))
    load_weights(model, weights_file(released_model(tune)))
    weights = folder.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


@every_tune
def test_they_are_what_the_fingerprint_says(tune, tmp_path):
    folder = ModelFolder.load(released_model(tune))
    assert folder.fingerprint.hex() == FINGERPRINTS[tune]
    folder.save(tmp_path)
    again = ModelFolder.load(tmp_path)
    assert again.fingerprint == folder.fingerprint
    assert all(torch.equal(again.tables[name], table) for name, table in folder.tables.items())
    with torch.no_grad():
        again.model.g_s[0].bias[0] += 1e-3
    assert ModelFolder.of(again.model, again.tables, again.trained_for, {}).fingerprint != folder.fingerprint


def test_params_yaml_trains_for_what_they_were_trained_for():
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    asked = {"lmbda": parameters["lmbda"], "ms_ssim_weight": parameters["train"]["ms_ssim_weight"]}
    assert ModelFolder.load(released_model("ms-ssim")).trained_for == asked
    assert ModelFolder.load(released_model("psnr")).trained_for == asked | {"ms_ssim_weight": 0}


def coded(shared, tune, name, **options):
    """The pixels of a Kodak picture, those that the codec makes of it, and the number of bytes between them."""
    with Image.open(shared / "kodak" / name) as image:
        picture = image.convert("RGB")
    codec = Codec.load(device="cpu", tune=tune)
    data = codec.compress(picture, **options)
    return np.asarray(picture), np.asarray(codec.decompress(data)), len(data)


@every_tune
@pytest.mark.parametrize("name", ["kodim05.png", "kodim20.png"])
def test_they_beat_jpeg(shared, tune, name):
    pixels, decoded, size = coded(shared, tune, name, quality=60)
    jpegs = {}
    for quality in range(5, 96, 5):
        Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=quality)
        jpegs[len(file.getvalue())] = np.asarray(Image.open(file))
    # The smallest JPEG that is no smaller than 1.4 times ours.
    jpeg = jpegs[min(length for length in jpegs if length >= 1.4 * size)]
    assert quality_of(tune, pixels, decoded) > quality_of(tune, pixels, jpeg)


def quality_of(tune, pixels, decoded):
    return ms_ssim(pixels, decoded) if tune == "ms-ssim" else Psnr().measure(Pair(pixels, decoded))


@pytest.mark.parametrize(("tune", "limits"), [("ms-ssim", (0.0022, 0.0045, 0.006)), ("psnr", (0.002, 0.0035, 0.007))])
def test_smooth_pictures_take_few_bits(tune, limits):
    codec = Codec.load(device="cpu", tune=tune)
    row, column = np.mgrid[:512, :768] / np.array([512, 768])[:, None, None]
    ramp = 40 + 170 * (0.3 * row + 0.7 * column)
    grey, white = (Image.new("RGB", (768, 512), (level,) * 3) for level in (119, 255))
    gradient = Image.fromarray(np.stack((ramp, 0.9 * ramp + 10, 0.7 * ramp + 40), axis=2).round().astype(np.uint8))
    for picture, most in zip((grey, white, gradient), limits, strict=True):
        assert 8 * len(codec.compress(picture)) / (768 * 512) <= most
