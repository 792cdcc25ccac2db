"""Latents adapted to the picture: the stream decodes as ever, and what it costs with its errors does not rise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from balle_li.boxes import Box
from balle_li.codec import effort
from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.models.base import build
from balle_li.ms_ssim_loss import ms_ssim_loss
from balle_li.registry import ModelConfig


def untrained(name, lmbda=0.01, ms_ssim_weight=0.0, **arguments):
    """A codec that reconstructs pictures, as models do before training; tiny random ones don't."""
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": 16, **arguments})).eval()
    tables = model.latent_codec.make_tables([])
    folder = ModelFolder.of(model, tables, {"lmbda": lmbda, "ms_ssim_weight": ms_ssim_weight}, {})
    return Codec(folder, torch.device("cpu"), torch.float32)


STRUCTURE, INTERLACED = {"lmbda": 0.0004, "ms_ssim_weight": 20000.0}, {"levels": 2}


@pytest.fixture(scope="module", params=[("balle", {}), *(("balle-li-roi", own) for own in ({}, STRUCTURE, INTERLACED))])
def codec(request):
    name, own = request.param
    return untrained(name, **own)


def picture(height=72, width=104):
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def cost(codec, image, data):
    """J of a stream, in bits; all of the picture weighs the same at quality 50."""
    first, second = (np.asarray(picture, np.float64) for picture in (image, codec.decompress(data)))
    error = ((first - second) ** 2).sum() / 3
    if codec.trained_for["ms_ssim_weight"]:
        # As training sees it, continued to whole latents.
        x, x_hat = (
            F.pad(torch.from_numpy(a).permute(2, 0, 1)[None] / 255, (0, 8, 0, 8), "replicate") for a in (first, second)
        )
        error += codec.trained_for["ms_ssim_weight"] * first[..., 0].size * float(ms_ssim_loss(x, x_hat))
    return 8 * len(data) + codec.trained_for["lmbda"] * error


@pytest.mark.parametrize("steps", [2, 10])
def test_the_cost_falls(codec, steps):
    image = picture()
    plain, adapted = (cost(codec, image, codec.compress(image, effort=effort)) for effort in (0, steps))
    assert adapted < plain


def test_no_effort_is_the_plain_stream_and_effort_is_the_same_each_time(codec):
    image = picture()
    assert codec.compress(image, effort=0) == codec.compress(image)
    assert codec.compress(image, effort=1) == codec.compress(image, effort=1)


def test_it_goes_tile_by_tile(codec, monkeypatch):
    image = picture()
    monkeypatch.setattr(effort, "_TILE", 2)
    done = []
    data = codec.compress(image, effort=2, progress=done.append)
    assert cost(codec, image, data) < cost(codec, image, codec.compress(image))
    assert done[-1] == 1 and len(done) > 5


def test_structure_is_heeded():
    image, asked = picture(), (0.0004, 20000.0)
    codec, heedless = untrained("balle-li-roi", *asked), untrained("balle-li-roi", asked[0])
    heeding, ignoring = (cost(codec, image, coder.compress(image, effort=10)) for coder in (codec, heedless))
    assert heeding < ignoring


def test_boxes_are_heeded():
    codec = untrained("balle-li-roi")
    image, boxes = picture(64, 128), [Box(0.0, 0.0, 0.5, 1.0, "face")]
    before, after = (
        np.asarray(codec.decompress(codec.compress(image, boxes=boxes, effort=steps)), np.float64) for steps in (0, 10)
    )
    pixels = np.asarray(image, np.float64)

    def left_and_right(decoded):
        squared = (decoded - pixels) ** 2
        return squared[:, :64].mean(), squared[:, 64:].mean()

    (left, right), (left_before, right_before) = left_and_right(after), left_and_right(before)
    assert left / left_before < right / right_before
