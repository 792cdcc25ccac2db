"""The weights that ship: whole, small, a start for training, and better than JPEG."""

import io

import numpy as np
import torch
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.evaluation.metrics import ms_ssim
from balle_li.files import RELEASED_MODEL
from balle_li.models.base import build
from balle_li.registry import ModelConfig
from balle_li.training.checkpoint import load_weights, weights_file

FINGERPRINT = "06437e293aba8ad0"  # streams name the weights that made them by this


def test_they_are_small_and_have_a_card_that_names_their_data():
    sizes = [path.stat().st_size for path in RELEASED_MODEL.iterdir()]
    assert len(sizes) == 3 and max(sizes) < 16e6
    card = (RELEASED_MODEL / "MODEL_CARD.md").read_text()
    assert "CC BY-SA 4.0" in card and "## Limits" in card


def test_training_starts_from_them():
    section = {"name": "balle-li-roi", "N": 64}
    model, folder = build(ModelConfig.of(section)), ModelFolder.load(RELEASED_MODEL)
    load_weights(model, weights_file(RELEASED_MODEL))
    weights = folder.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


def test_they_are_what_the_fingerprint_says(tmp_path):
    folder = ModelFolder.load(RELEASED_MODEL)
    assert folder.fingerprint.hex() == FINGERPRINT
    folder.save(tmp_path)
    again = ModelFolder.load(tmp_path)
    assert again.fingerprint == folder.fingerprint
    assert all(torch.equal(again.tables[name], table) for name, table in folder.tables.items())
    with torch.no_grad():
        again.model.g_s[0].bias[0] += 1e-3
    assert ModelFolder.of(again.model, again.tables, again.trained_for, {}).fingerprint != folder.fingerprint


def test_they_beat_jpeg(shared):
    codec = Codec.load(RELEASED_MODEL, "cpu")
    for name in ("kodim05.png", "kodim20.png"):
        with Image.open(shared / "kodak" / name) as image:
            picture = image.convert("RGB")
        data, jpeg = codec.compress(picture, quality=60), io.BytesIO()
        picture.save(jpeg, "JPEG", quality=32)
        pixels, decoded = np.asarray(picture), np.asarray(codec.decompress(data))
        assert len(data) < 0.7 * len(jpeg.getvalue())
        assert ms_ssim(pixels, decoded) > ms_ssim(pixels, np.asarray(Image.open(jpeg)))
