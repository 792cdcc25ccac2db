import platform
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_model
from torch import nn

from balle_li.codec import transforms
from balle_li.codec import transforms as transforms_module
from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.transforms import Transforms, fastest_dtype
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.models.layers import conv

CPU = torch.device("cpu")


def smooth_picture(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-encoder-5", "balle-li", "balle-li-roi"])
@pytest.mark.parametrize("size", [(150, 230), (64, 64), (33, 200)])
def test_tiles_give_the_whole_pictures_result(name, size):
    model, pixels = tiny_model(name).model, smooth_picture(*size)
    whole = Transforms(model, CPU, torch.float32, tile_pixels=4096)
    tiled = Transforms(model, CPU, torch.float32, tile_pixels=64)
    latents, importance = whole.analyse(pixels), whole.importance(pixels)
    edge = np.zeros(latents.shape, bool)
    assert (importance is not None) == (name == "balle-li")
    if importance is not None:
        np.testing.assert_allclose(importance, tiled.importance(pixels), atol=1e-4)
        edge |= np.abs(importance - 0.5) < 1e-3  # where rounding may tip the mask
    np.testing.assert_allclose(np.where(edge, 0, latents), np.where(edge, 0, tiled.analyse(pixels)), atol=1e-3)
    decoded, decoded_by_tiles = (
        transforms.synthesise(latents, *size, None).astype(int) for transforms in (whole, tiled)
    )
    assert np.abs(decoded - decoded_by_tiles).max() <= 1 and np.mean(decoded != decoded_by_tiles) < 1e-3


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_there_are_no_seams_in_bfloat16(name):
    """Differences between tiled and whole decoding are rounding noise: at the seams no larger than elsewhere."""
    model, pixels = tiny_model(name).model, smooth_picture(192, 256)
    whole = Transforms(model, CPU, torch.bfloat16, tile_pixels=4096)
    tiled = Transforms(model, CPU, torch.bfloat16, tile_pixels=64)
    assert whole.dtype is tiled.dtype is torch.bfloat16
    latents = whole.analyse(pixels)
    difference = np.abs(
        whole.synthesise(latents, 192, 256, None).astype(int) - tiled.synthesise(latents, 192, 256, None)
    )
    columns = difference.mean(axis=(0, 2))
    seams = np.concatenate([columns[edge - 1 : edge + 1] for edge in range(64, 256, 64)])
    assert difference.max() <= 2 and seams.mean() <= columns.mean() + 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (17, 15), (16, 32)])
def test_pictures_are_continued_by_their_edges(size):
    transforms, pixels = Transforms(tiny_model().model, CPU, torch.float32), smooth_picture(*size)
    rows, columns = transforms.grid(*size)
    padded = np.pad(pixels, ((0, rows * 16 - size[0]), (0, columns * 16 - size[1]), (0, 0)), mode="edge")
    latents = transforms.analyse(pixels)
    assert latents.shape == (8, rows, columns)
    assert np.array_equal(latents, transforms.analyse(padded))
    whole = transforms.synthesise(latents, rows * 16, columns * 16, None)
    assert np.array_equal(transforms.synthesise(latents, *size, None), whole[: size[0], : size[1]])


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-li", "balle-li-roi"])
def test_the_transforms_are_those_of_the_model(name):
    """Scales are folded into the outer convolutions; what comes out is that of the modules on pixels in [0, 1]."""
    model, pixels = tiny_model(name).model, smooth_picture(64, 96)
    transforms = Transforms(model, CPU, torch.float32)
    x = torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        y = model.g_a(x)
        x_hat = model.g_s(y)[0].permute(1, 2, 0).numpy()
    latents = transforms.analyse(pixels)
    assert np.mean(np.abs(latents - y[0].numpy()) > 1e-3) < 2e-3
    got = transforms.synthesise(y[0].numpy(), 64, 96, None)
    assert got.std() > 10
    assert np.abs(got - np.round(255 * x_hat.clip(0, 1))).max() <= 1
    raw = transforms.differentiable_synthesis(y)[0].permute(1, 2, 0).detach().numpy()
    np.testing.assert_allclose(raw, 255 * x_hat, atol=0.01)
    assert not any(weight.grad is not None for weight in model.parameters())


def test_importance_masks_latents():
    model = tiny_model("balle-li").model
    transforms = Transforms(model, CPU, torch.float32)
    pixels = smooth_picture(160, 160)
    latents, importance = transforms.analyse(pixels), transforms.importance(pixels)
    masked = importance <= 0.5
    assert importance.shape == (10, 10) and 0 <= importance.min() < importance.max() <= 1
    assert masked.any() and (latents[:, masked] == 0).all()


def test_progress_reaches_one():
    transforms, seen = Transforms(tiny_model().model, CPU, torch.float32, tile_pixels=32), []
    transforms.analyse(smooth_picture(64, 96), seen.append)
    assert len(seen) == 6 and seen == sorted(seen) and seen[-1] == 1.0


class Residual(nn.Module):
    """Declares its geometry: two 3×3 convolutions see two places to either side."""

    reach, scale = 2, Fraction(1)

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels, 3, 1), nn.ReLU(), conv(channels, channels, 3, 1))

    def forward(self, x):
        return x + 0.3 * self.body(x)


class GlobalAttention(nn.Module):
    """Declares nothing: every output depends on every input."""

    def forward(self, x):
        return x * torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))


def with_blocks(*, block):
    """balle with a block of the given kind in either transform."""
    folder = tiny_model()
    torch.manual_seed(1)
    model = folder.model
    model.g_a.append(block(8))
    model.g_s.insert(0, block(8))
    return ModelFolder(model.eval(), folder.tables, folder.description)


def test_a_module_that_declares_its_reach_is_tiled_without_seams():
    model, pixels = with_blocks(block=Residual).model, smooth_picture(150, 230)
    whole, tiled = (Transforms(model, CPU, torch.float32, tile_pixels=side) for side in (4096, 64))
    assert whole.tiled
    latents, seen = whole.analyse(pixels), []
    np.testing.assert_allclose(latents, tiled.analyse(pixels, seen.append), atol=1e-3)
    assert len(seen) == 12
    difference = np.abs(
        whole.synthesise(latents, 150, 230, None).astype(int) - tiled.synthesise(latents, 150, 230, None)
    )
    assert difference.max() <= 1 and difference.mean() < 1e-3


def test_a_reach_declared_too_short_shows_as_seams(monkeypatch):
    monkeypatch.setattr(Residual, "reach", 0)
    model, pixels = with_blocks(block=Residual).model, smooth_picture(150, 230)
    whole, tiled = (Transforms(model, CPU, torch.float32, tile_pixels=side) for side in (4096, 64))
    assert np.abs(whole.analyse(pixels) - tiled.analyse(pixels)).max() > 0.01


def test_a_module_that_declares_nothing_is_coded_whole(monkeypatch):
    folder, pixels = with_blocks(block=lambda channels: GlobalAttention()), smooth_picture(100, 150)
    small = Transforms(folder.model, CPU, torch.float32, tile_pixels=32)
    assert not small.tiled
    seen = []
    np.testing.assert_array_equal(
        small.analyse(pixels, seen.append), Transforms(folder.model, CPU, torch.float32).analyse(pixels)
    )
    assert seen == [1.0]
    codec = Codec(folder, CPU, torch.float32)
    data = codec.compress(Image.fromarray(pixels))
    assert codec.decompress(data).size == (150, 100)
    monkeypatch.setattr(transforms_module, "MAX_WHOLE_PIXELS", 112 * 160 - 1)
    for attempt, error in (
        (lambda: codec.compress(Image.fromarray(pixels)), BalleLiError),
        (lambda: codec.decompress(data), BitstreamError),
    ):
        with pytest.raises(error, match="150x100 pixels; balle codes pictures in one piece") as found:
            attempt()
        assert "\n" not in str(found.value)
    monkeypatch.setattr(transforms_module, "MAX_WHOLE_PIXELS", 112 * 160)
    assert codec.compress(Image.fromarray(pixels)) == data


def test_transforms_that_do_not_end_in_convolutions_are_given_pixels_in_the_unit_range():
    """Nothing is folded, and the networks run in fp32."""
    model, pixels = tiny_model().model, smooth_picture(64, 64)
    plain = Transforms(model, CPU, torch.float32).analyse(pixels)
    model.g_a.insert(0, nn.Identity())
    model.g_s.append(nn.Identity())
    wrapped = Transforms(model, CPU, torch.bfloat16)
    assert wrapped.dtype is torch.float32
    np.testing.assert_allclose(wrapped.analyse(pixels), plain, atol=1e-3)
    expected = Transforms(tiny_model().model, CPU, torch.float32).synthesise(plain, 64, 64, None).astype(int)
    assert np.abs(wrapped.synthesise(plain, 64, 64, None) - expected).max() <= 1


@pytest.mark.parametrize(
    ("avx512", "amx", "intel", "expected"),
    [
        (True, False, False, torch.bfloat16),
        (True, False, True, torch.float32),
        (True, True, True, torch.bfloat16),
        (False, False, False, torch.float32),
    ],
)
def test_bf16_is_for_processors_that_are_faster_in_it(monkeypatch, avx512, amx, intel, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(transforms, "_is_intel", lambda: intel)
    assert fastest_dtype(torch.device("cpu")) is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_bf16_is_for_gpus_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fastest_dtype(torch.device("cuda")) is expected


def test_other_devices_compute_in_float32():
    assert fastest_dtype(torch.device("mps")) is torch.float32


@pytest.mark.parametrize(("vendor", "intel"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_the_maker_is_read_where_linux_says_it_and_asked_of_python_elsewhere(monkeypatch, vendor, intel):
    monkeypatch.setattr(Path, "read_text", lambda path: f"processor : 0\nvendor_id : {vendor}\n")
    assert transforms._is_intel.__wrapped__() is intel

    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(
        platform, "processor", lambda: f"Intel64 Family 6 Model 143 Stepping 8, {vendor}" if intel else vendor
    )
    assert transforms._is_intel.__wrapped__() is intel
