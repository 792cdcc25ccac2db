from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_msssim import ms_ssim

from balle_li.ms_ssim_loss import MsSsimLoss, ms_ssim_loss


@pytest.fixture(scope="module")
def photograph(shared) -> torch.Tensor:
    with Image.open(shared / "kodak" / "kodim05.png") as image:
        return _pixels(image.crop((100, 100, 356, 356)))


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def test_an_equal_picture_has_none(photograph):
    assert float(ms_ssim_loss(photograph, photograph)) == 0


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_it_is_about_one_minus_ms_ssim(photograph, noise):
    torch.manual_seed(0)
    coarse = torch.randn(1, 3, 64, 64).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    x_hat = photograph + noise * coarse
    theirs = 1 - float(ms_ssim(x_hat, photograph, data_range=1.0))
    assert float(ms_ssim_loss(photograph, x_hat)) == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize("quality", [10, 30, 70])
def test_it_is_about_one_minus_ms_ssim_on_smooth_pictures_too(shared, quality):
    """Errors of a sky are slow: a loss that counts them at every scale is twice too large.

    MS-SSIM itself has no windows beyond the edge, where this picture is not smooth.
    """
    with Image.open(shared / "kodak" / "kodim20.png") as image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        x, x_hat = _pixels(image), _pixels(Image.open(file))
    theirs = 1 - float(ms_ssim(x_hat, x, data_range=1.0))
    assert float(ms_ssim_loss(x, x_hat)) == pytest.approx(theirs, rel=0.1)


def test_what_networks_compute_in_bf16_is_measured_in_fp32(photograph):
    x_hat = photograph.bfloat16()
    weights = torch.ones(1, 1, *photograph.shape[2:])
    expected = ms_ssim_loss(photograph, x_hat.float(), weights)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ms_ssim_loss(photograph, x_hat, weights.bfloat16()), expected)


def test_an_error_counts_less_where_there_is_contrast():
    torch.manual_seed(0)
    flat = torch.full((1, 3, 64, 64), 0.5)
    textured = flat + 0.2 * torch.randn(1, 3, 8, 8).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    error = 0.02 * torch.randn(1, 3, 16, 16).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert ms_ssim_loss(flat, flat + error) > 4 * ms_ssim_loss(textured, textured + error)


def test_each_place_counts_by_its_weight():
    torch.manual_seed(0)
    x = torch.full((1, 3, 128, 128), 0.5)
    x_hat = x.clone()
    x_hat[..., :64] += 0.05 * torch.randn(1, 3, 16, 8).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    weights = torch.ones(1, 1, 128, 128)
    plain = ms_ssim_loss(x, x_hat)
    assert torch.allclose(ms_ssim_loss(x, x_hat, weights), plain)
    left, right = weights.clone(), weights.clone()
    left[..., :64], right[..., 64:] = 4.0, 4.0
    assert 3 * plain < ms_ssim_loss(x, x_hat, left) <= 4 * plain
    assert ms_ssim_loss(x, x_hat, right) < 2 * plain


def test_every_pixel_has_a_say_to_the_very_edge():
    torch.manual_seed(0)
    x = torch.full((1, 3, 64, 96), 0.5)
    losses = []
    for row, column in ((30, 50), (0, 50), (63, 50), (30, 0), (30, 95), (0, 0), (63, 95)):
        x_hat = x.clone()
        x_hat[..., row, column] += 0.02
        losses.append(float(ms_ssim_loss(x, x_hat)))
    assert max(losses) < 2 * min(losses), losses


def test_gradients_pass_and_batches_keep_pictures_apart():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    x_hat = x.clone()
    x_hat[0] += 0.1 * torch.randn(3, 32, 32)
    x_hat.requires_grad_()
    error = ms_ssim_loss(x, x_hat)
    error[0].backward()
    assert float(error[1].detach()) == 0 and x_hat.grad is not None
    assert x_hat.grad[0].abs().sum() > 0 and x_hat.grad[1].abs().sum() == 0


def test_one_picture_is_measured_against_many(photograph):
    weights = 0.5 + torch.rand(1, 1, *photograph.shape[2:])
    loss = MsSsimLoss(photograph, weights)
    for noise in (0.01, 0.03):
        x_hat = photograph + noise * torch.randn_like(photograph)
        assert torch.equal(loss(x_hat), ms_ssim_loss(photograph, x_hat, weights))
