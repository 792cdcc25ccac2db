import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_model

from balle_li.codec.transforms import Transforms

CPU = torch.device("cpu")


def smooth_picture(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-li", "balle-li-roi"])
@pytest.mark.parametrize("size", [(150, 230), (64, 64), (33, 200)])
def test_tiles_give_the_whole_pictures_result(name, size):
    model, pixels = tiny_model(name), smooth_picture(*size)
    whole = Transforms(model, CPU, torch.float32, tile_pixels=4096)
    tiled = Transforms(model, CPU, torch.float32, tile_pixels=64)
    (latents, importance), (other, other_importance) = whole.analyse(pixels, None), tiled.analyse(pixels, None)
    np.testing.assert_allclose(latents, other, atol=1e-3)
    if importance is not None:
        np.testing.assert_allclose(importance, other_importance, atol=1e-5)
    decoded, decoded_by_tiles = (
        transforms.synthesise(latents, *size, None).astype(int) for transforms in (whole, tiled)
    )
    assert np.abs(decoded - decoded_by_tiles).max() <= 1 and np.mean(decoded != decoded_by_tiles) < 1e-3


def test_there_are_no_seams_in_bfloat16():
    """Differences between tiled and whole decoding are rounding noise: at the seams no larger than elsewhere."""
    model, pixels = tiny_model(), smooth_picture(192, 256)
    whole = Transforms(model, CPU, torch.bfloat16, tile_pixels=4096)
    tiled = Transforms(model, CPU, torch.bfloat16, tile_pixels=64)
    latents, _ = whole.analyse(pixels, None)
    difference = np.abs(
        whole.synthesise(latents, 192, 256, None).astype(int) - tiled.synthesise(latents, 192, 256, None)
    )
    columns = difference.mean(axis=(0, 2))
    seams = np.concatenate([columns[edge - 1 : edge + 1] for edge in range(64, 256, 64)])
    assert difference.max() <= 2 and seams.mean() <= columns.mean() + 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (17, 15), (16, 32)])
def test_pictures_are_continued_by_their_edges(size):
    transforms, pixels = Transforms(tiny_model(), CPU, torch.float32), smooth_picture(*size)
    rows, columns = transforms.grid(*size)
    padded = np.pad(pixels, ((0, rows * 16 - size[0]), (0, columns * 16 - size[1]), (0, 0)), mode="edge")
    latents, _ = transforms.analyse(pixels, None)
    assert latents.shape == (8, rows, columns)
    assert np.array_equal(latents, transforms.analyse(padded, None)[0])
    whole = transforms.synthesise(latents, rows * 16, columns * 16, None)
    assert np.array_equal(transforms.synthesise(latents, *size, None), whole[: size[0], : size[1]])


def test_the_signal_flow_is_that_of_the_layers():
    """Against the layer list run by hand on pixels in [0, 1]."""
    model, pixels = tiny_model(), smooth_picture(48, 64)
    x = torch.from_numpy(pixels / 255.0).permute(2, 0, 1)[None]
    median = model.tensors["tables.y.median"].double()[None, :, None, None]
    symbols = torch.round(run(model, "g_a", x) - median)
    transforms = Transforms(model, CPU, torch.float32)
    latents, _ = transforms.analyse(pixels, None)
    assert np.mean(np.rint(latents - median[0].numpy()) != symbols[0].numpy()) < 2e-3
    x_hat = run(model, "g_s", torch.from_numpy(latents.astype(float))[None])[0].permute(1, 2, 0).numpy()
    expected = np.round(255 * x_hat.clip(0, 1))
    assert np.abs(transforms.synthesise(latents, 48, 64, None) - expected).max() <= 1


def run(model, network, x):
    for index, layer in enumerate(model.network(network)):
        tensors = {
            key.split(".")[2]: t.double() for key, t in model.tensors.items() if key.startswith(f"{network}.{index}.")
        }
        if layer["type"] == "gdn":
            norm = torch.sqrt(torch.einsum("cj,bjhw->bchw", tensors["gamma"], x**2) + tensors["beta"][:, None, None])
            x = x * norm if layer["inverse"] else x / norm
        elif layer["type"] == "conv":
            x = torch.conv2d(x, tensors["weight"], tensors["bias"], layer["stride"], layer["padding"])
        else:
            options = (layer["stride"], layer["padding"], layer["output_padding"])
            x = torch.conv_transpose2d(x, tensors["weight"], tensors["bias"], *options)
    return x


def test_importance_masks_latents():
    model = tiny_model("balle-li")
    transforms = Transforms(model, CPU, torch.float32)
    latents, importance = transforms.analyse(smooth_picture(160, 160), None)
    masked = importance <= 0.5
    assert importance.shape == (10, 10) and 0 <= importance.min() < importance.max() <= 1
    assert masked.any() and (latents[:, masked] == 0).all()


def test_progress_reaches_one():
    transforms, seen = Transforms(tiny_model(), CPU, torch.float32, tile_pixels=32), []
    transforms.analyse(smooth_picture(64, 96), seen.append)
    assert len(seen) == 6 and seen == sorted(seen) and seen[-1] == 1.0
