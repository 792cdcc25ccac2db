import math

import numpy as np
import pytest
import torch

from balle_li.boxes import Box, box_weight_map
from balle_li.ms_ssim_loss import ms_ssim_loss
from balle_li.training.loss import RateDistortionLoss


def output(x_hat: torch.Tensor) -> dict:
    likelihoods = {"y": torch.tensor([[0.5, 0.25]]), "z": torch.tensor([[0.125]])}  # 1 + 2 + 3 bits
    return {"x_hat": x_hat, "likelihoods": likelihoods, "importance": None}


def test_by_hand():
    x = torch.zeros(1, 3, 2, 4)
    cost = RateDistortionLoss(0.01, 0.0)(output(x + 0.1), x, None)
    assert float(cost["bpp"]) == pytest.approx(6 / 8)
    assert float(cost["mse"]) == pytest.approx(0.01)
    assert float(cost["loss"]) == pytest.approx(0.01 * 255**2 * 0.01 + 6 / 8)
    assert float(cost["box_mse"]) == 0


def test_the_rate_is_the_papers_code():
    x = torch.zeros(1, 3, 2, 4)
    cost = RateDistortionLoss(0.0, 0.0)(output(x), x, None)
    logs = sum(math.log(p) for p in (0.5, 0.25, 0.125))
    assert float(cost["loss"]) == pytest.approx(logs / (-math.log(2) * 8))


def test_boxes_count_by_their_exact_share_of_each_pixel_and_by_weight():
    weights = box_weight_map([Box(0.0, 0.0, 0.375, 0.5, weight=2.0)], 2, 4)  # 1.5 of the 8 pixels, twice
    x = torch.zeros(1, 3, 2, 4)
    cost = RateDistortionLoss(0.01, 0.1)(output(x + 0.1), x, torch.from_numpy(weights)[None, None])
    assert float(cost["box_mse"]) == pytest.approx(0.01 * 2 * 1.5 / 8)
    assert float(cost["loss"]) == pytest.approx(255**2 * (0.01 * 0.01 + 0.1 * 0.01 * 3 / 8) + 6 / 8)


def test_an_error_outside_the_boxes_is_not_weighed():
    x, x_hat = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    x_hat[..., 1, 1] = 1.0
    weights = torch.from_numpy(np.array([[[[1.0, 0.0], [0.0, 0.0]]]], np.float32))
    cost = RateDistortionLoss(0.01, 0.1)(output(x_hat), x, weights)
    assert float(cost["box_mse"]) == 0
    assert float(cost["mse"]) == pytest.approx(0.25)


def test_zero_turns_the_boxes_off():
    x = torch.zeros(1, 3, 2, 2)
    plain = RateDistortionLoss(0.01, 0.0)(output(x + 0.5), x, None)
    off = RateDistortionLoss(0.01, 0.0)(output(x + 0.5), x, torch.ones(1, 1, 2, 2))
    assert plain["loss"] == off["loss"]


def test_one_unit_of_r_weighs_errors_fourfold_where_it_is():
    x, x_hat = torch.zeros(1, 3, 16, 32), torch.full((1, 3, 16, 32), 0.1)
    r = torch.tensor([[[[1.0, -0.5]]]])  # one latent for each half of the picture
    cost = RateDistortionLoss(0.01, 0.0)(output(x_hat), x, None, r)
    assert float(cost["mse"]) == pytest.approx(0.01)
    scale = 2**-0.25
    assert float(cost["loss"]) == pytest.approx(scale * (0.01 * 255**2 * 0.01 * (4 + 0.5) / 2 + float(cost["bpp"])))
    boxes = torch.zeros(1, 1, 16, 32)
    boxes[..., 16:] = 1.0
    boxed = RateDistortionLoss(0.01, 0.1)(output(x_hat), x, boxes, r)
    assert float(boxed["loss"] - cost["loss"]) == pytest.approx(scale * 255**2 * 0.1 * 0.01 * 0.5 / 2, rel=1e-4)


def test_pictures_of_different_quality_count_each_by_its_own_r():
    x = torch.zeros(2, 3, 16, 16)
    x_hat = x + torch.tensor([0.1, 0.2]).view(2, 1, 1, 1)
    likelihoods = {"y": torch.tensor([[0.5], [0.25]])}
    r = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    both = {"x_hat": x_hat, "likelihoods": likelihoods, "importance": None}
    cost = RateDistortionLoss(0.01, 0.0)(both, x, None, r)
    low = (1 / 256 + 650.25 * 0.01 * 4) / 2
    high = (2 / 256 + 650.25 * 0.04 / 4) * 2
    assert float(cost["loss"]) == pytest.approx((low + high) / 2)


def test_the_ms_ssim_loss_counts_by_lmbda_and_by_r():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 32, 32)
    x_hat = x + 0.05 * torch.randn_like(x)
    structural = float(ms_ssim_loss(x, x_hat))
    plain = RateDistortionLoss(0.001, 0.0)(output(x_hat), x, None)  # beside it squared errors count a tenth
    cost = RateDistortionLoss(0.01, 0.0, ms_ssim_weight=800)(output(x_hat), x, None)
    assert float(plain["ms_ssim_loss"]) == 0 and float(cost["ms_ssim_loss"]) == pytest.approx(structural)
    assert float(cost["loss"] - plain["loss"]) == pytest.approx(8 * structural, rel=1e-4)
    r = torch.ones(1, 1, 2, 2)
    losses = RateDistortionLoss(0.001, 0.0), RateDistortionLoss(0.01, 0.0, 800)
    asked = [loss(output(x_hat), x, None, r)["loss"] for loss in losses]
    assert float(asked[1] - asked[0]) == pytest.approx(8 * structural * 4 / 2, rel=1e-4)
