"""What transforms do before training: they pass a picture through, and gather its energy in few latents."""

import numpy as np
import pytest
import torch
from torch import nn

from balle_li.models.config import ModelConfig
from balle_li.models.registry import build, names


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """Smooth and coloured, `(1, 3, 64, 64)`."""
    row, column = np.mgrid[0:64, 0:64] / 64
    waves = [np.sin(3 * row + 5 * column), np.cos(4 * row - 2 * column), np.sin(6 * column) * row]
    return torch.tensor(0.5 + 0.3 * np.stack(waves), dtype=torch.float32)[None]


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-encoder-5", "balle-li-roi"])
def test_an_untrained_model_reconstructs(name, picture):
    torch.manual_seed(0)
    networks = build(ModelConfig(name, 48)).networks()
    with torch.no_grad():
        error = (networks["g_s"](networks["g_a"](picture)) - picture).square().mean()
    assert error < 0.3 * picture.var()  # of random weights it is above 5


def test_the_latents_are_sorted_by_energy_and_scaled_for_rounding(picture):
    torch.manual_seed(0)
    with torch.no_grad():
        y = build(ModelConfig("balle", 48)).networks()["g_a"](picture)
    energy = y.square().mean(dim=(0, 2, 3))
    assert energy[:8].sum() > 0.8 * energy.sum()
    assert energy.sum().sqrt() > 5  # rounding to whole numbers keeps the picture


@pytest.mark.parametrize("name", names())
def test_no_two_channels_start_alike(name):
    torch.manual_seed(0)
    for layer in build(ModelConfig(name, 8)).modules():
        if isinstance(layer, nn.Conv2d):
            kernels = layer.weight.flatten(1)
            assert len(kernels.unique(dim=0)) == len(kernels)


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_contrast_divides_what_lies_in_it_and_local_means_do_not(name):
    networks = build(ModelConfig(name, 48)).networks()
    gamma = networks["g_a"][1].finished_parameters()[1]
    assert gamma[3:, 3:].min() > 0.4 and gamma[:3, 3:].max() < 0.01 and gamma[3:, :3].max() < 0.01
    for number in (1, 3):
        gamma = networks["g_s"][number].finished_parameters()[1]
        assert gamma[12:, 12:].min() > 0.2


@pytest.mark.parametrize("name", names())
def test_the_networks_that_start_as_a_klt_are_the_models_own_transforms(name):
    model = build(ModelConfig(name, N=8))
    assert set(model.started_as_klt) <= set(model.networks())
    assert model.started_as_klt[-1] == "g_s"
