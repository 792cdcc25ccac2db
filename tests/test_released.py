"""The weights that ship: whole, small, a start for training, and better than JPEG."""

import io

import numpy as np
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.evaluation.metrics import ms_ssim
from balle_li.models.config import ModelConfig
from balle_li.models.registry import build
from balle_li.released import MODEL_FOLDER, fits
from balle_li.training.checkpoint import load_weights, weights_file


def test_they_are_small_and_have_a_card_that_names_their_data():
    sizes = [path.stat().st_size for path in MODEL_FOLDER.iterdir()]
    assert len(sizes) == 4 and max(sizes) < 16e6
    card = (MODEL_FOLDER / "MODEL_CARD.md").read_text()
    assert "CC BY-SA 4.0" in card and "## Limits" in card


def test_training_starts_from_them_where_they_fit():
    assert fits("balle-li-roi", 64) and not fits("balle-li-roi", 32) and not fits("balle", 64)
    load_weights(build(ModelConfig("balle-li-roi", 64)), weights_file(MODEL_FOLDER))


def test_they_beat_jpeg(shared):
    codec = Codec.load(MODEL_FOLDER, "cpu")
    for name in ("kodim05.png", "kodim20.png"):
        with Image.open(shared / "kodak" / name) as image:
            picture = image.convert("RGB")
        data, jpeg = codec.compress(picture, quality=60), io.BytesIO()
        picture.save(jpeg, "JPEG", quality=32)
        pixels, decoded = np.asarray(picture), np.asarray(codec.decompress(data))
        assert len(data) < 0.7 * len(jpeg.getvalue())
        assert ms_ssim(pixels, decoded) > ms_ssim(pixels, np.asarray(Image.open(jpeg)))
