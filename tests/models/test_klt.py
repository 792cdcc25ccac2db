"""What transforms do before training: they pass a picture through, and gather its energy in few latents."""

import numpy as np
import pytest
import torch
from tiny_model import OWN_MODELS
from torch import nn

from balle_li.models.balle import Balle
from balle_li.models.base import build
from balle_li.models.klt import without_start
from balle_li.registry import ModelConfig


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """Smooth and coloured, `(1, 3, 64, 64)`."""
    row, column = np.mgrid[0:64, 0:64] / 64
    waves = [np.sin(3 * row + 5 * column), np.cos(4 * row - 2 * column), np.sin(6 * column) * row]
    return torch.tensor(0.5 + 0.3 * np.stack(waves), dtype=torch.float32)[None]


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-encoder-5", "balle-li-roi"])
def test_an_untrained_model_reconstructs(name, picture):
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": 48}))
    with torch.no_grad():
        error = (model.g_s(model.g_a(picture)) - picture).square().mean()
    assert error < 0.3 * picture.var()  # of random weights it is above 5


def test_the_latents_are_sorted_by_energy_and_scaled_for_rounding(picture):
    torch.manual_seed(0)
    with torch.no_grad():
        y = build(ModelConfig("balle", {"N": 48})).g_a(picture)
    energy = y.square().mean(dim=(0, 2, 3))
    assert energy[:8].sum() > 0.8 * energy.sum()
    assert energy.sum().sqrt() > 5  # rounding to whole numbers keeps the picture


@pytest.mark.parametrize("name", OWN_MODELS)
def test_no_two_channels_start_alike(name):
    torch.manual_seed(0)
    for layer in build(ModelConfig(name, {"N": 8})).modules():
        if isinstance(layer, nn.Conv2d):
            kernels = layer.weight.flatten(1)
            assert len(kernels.unique(dim=0)) == len(kernels)


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_contrast_divides_what_lies_in_it_and_local_means_do_not(name):
    model = build(ModelConfig(name, {"N": 48}))
    gamma = model.g_a[1].finished_parameters()[1]
    assert gamma[3:, 3:].min() > 0.4 and gamma[:3, 3:].max() < 0.01 and gamma[3:, :3].max() < 0.01
    for number in (1, 3):
        gamma = model.g_s[number].finished_parameters()[1]
        assert gamma[12:, 12:].min() > 0.2


@pytest.mark.parametrize("name", OWN_MODELS)
def test_the_parts_that_start_near_their_goal_are_the_models_own(name):
    model = build(ModelConfig(name, {"N": 8}))
    parts = dict(model.named_modules())
    assert set(model.started_near_goal) <= set(parts)
    assert "g_s" in model.started_near_goal


def test_without_start_the_weights_stay_random(picture):
    torch.manual_seed(0)
    with without_start():
        random = Balle(48)
    with torch.no_grad():
        error = (random.g_s(random.g_a(picture)) - picture).square().mean()
        assert error > picture.var()
        started = Balle(48)  # the block is over
        assert (started.g_s(started.g_a(picture)) - picture).square().mean() < 0.3 * picture.var()
