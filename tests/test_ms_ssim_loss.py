import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim

from balle_li.ms_ssim_loss import ms_ssim_loss


@pytest.fixture(scope="module")
def photograph(shared) -> torch.Tensor:
    from PIL import Image

    with Image.open(shared / "kodak" / "kodim05.png") as image:
        pixels = np.asarray(image.crop((100, 100, 356, 356)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def test_an_equal_picture_has_none(photograph):
    assert float(ms_ssim_loss(photograph, photograph)) == 0


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_it_is_about_one_minus_ms_ssim(photograph, noise):
    torch.manual_seed(0)
    coarse = torch.randn(1, 3, 64, 64).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    x_hat = photograph + noise * coarse
    theirs = 1 - float(ms_ssim(x_hat, photograph, data_range=1.0))
    assert float(ms_ssim_loss(photograph, x_hat)) == pytest.approx(theirs, rel=0.25)


def test_an_error_counts_less_where_there_is_contrast():
    torch.manual_seed(0)
    flat = torch.full((1, 3, 64, 64), 0.5)
    textured = flat + 0.2 * torch.randn(1, 3, 8, 8).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    error = 0.02 * torch.randn(1, 3, 16, 16).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert ms_ssim_loss(flat, flat + error) > 4 * ms_ssim_loss(textured, textured + error)


def test_each_place_counts_by_its_weight():
    x, x_hat = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.5)
    x_hat[..., :32] += 0.05
    weights = torch.ones(1, 1, 64, 64)
    plain = ms_ssim_loss(x, x_hat)
    assert torch.allclose(ms_ssim_loss(x, x_hat, weights), plain)
    left, right = weights.clone(), weights.clone()
    left[..., :32], right[..., 32:] = 4.0, 4.0
    assert 2 * plain < ms_ssim_loss(x, x_hat, left) <= 4 * plain
    assert ms_ssim_loss(x, x_hat, right) < 2 * plain


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
