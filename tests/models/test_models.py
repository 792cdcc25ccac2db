"""The models' layers against the paper's description: kinds, strides, channels, parameter counts."""

import pytest
import torch
from tiny_model import OWN_MODELS
from torch import nn

from balle_li.models.balle_li import ImportanceMask, straight_through_mask
from balle_li.models.base import build
from balle_li.models.layers import GDN
from balle_li.registry import ModelConfig

N = 8

ANALYSIS = ["conv 3-8 9x9 /4", "gdn 8", "conv 8-8 5x5 /2", "gdn 8", "conv 8-8 5x5 /2"]
SYNTHESIS = ["deconv 8-8 5x5 *2", "igdn 8", "deconv 8-8 5x5 *2", "igdn 8", "deconv 8-3 9x9 *4"]
TABLES = {
    "balle": {"g_a": ANALYSIS, "g_s": SYNTHESIS},
    "balle-encoder": {
        "g_a": [*ANALYSIS, "gdn 8", "conv 8-8 5x5 /2"],
        "g_s": ["deconv 8-8 5x5 *2", "igdn 8", *SYNTHESIS],
    },
    "balle-encoder-5": {
        "g_a": [*ANALYSIS, "gdn 8", "conv 8-8 5x5 /2", "gdn 8", "conv 8-8 5x5 /1"],
        "g_s": ["deconv 8-8 5x5 *1", "igdn 8", "deconv 8-8 5x5 *2", "igdn 8", *SYNTHESIS],
    },
    "balle-li": {
        "g_a": [*ANALYSIS, "gdn 8", "importancemask"],
        "latents": ["conv 8-8 1x1 /1"],
        "importance": ["conv 8-8 1x1 /1", "sigmoid", "conv 8-8 1x1 /1", "sigmoid", "conv 8-1 1x1 /1", "sigmoid"],
        "g_s": ["conv 8-8 1x1 /1", "igdn 8", *SYNTHESIS],
    },
}


def describe(layer: nn.Module) -> str:
    if isinstance(layer, GDN):
        return f"{'igdn' if layer.inverse else 'gdn'} {layer.beta.numel()}"
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        kind, mark = ("conv", "/") if isinstance(layer, nn.Conv2d) else ("deconv", "*")
        height, width = layer.kernel_size
        return f"{kind} {layer.in_channels}-{layer.out_channels} {height}x{width} {mark}{layer.stride[0]}"
    return type(layer).__name__.lower()


def networks(model: nn.Module) -> dict[str, list[str]]:
    parts = {"g_a": model.g_a, "g_s": model.g_s}
    if isinstance(model.g_a[-1], ImportanceMask):
        parts |= {"latents": [model.g_a[-1].latents], "importance": model.g_a[-1].importance}
    return {name: [describe(layer) for layer in layers] for name, layers in parts.items()}


def convolutional_parameters(table: dict[str, list[str]]) -> int:
    """Weights, biases, betas and gammas that the table's lines amount to."""
    total = 0
    for line in (line for lines in table.values() for line in lines):
        kind, *rest = line.split()
        if kind in ("gdn", "igdn"):
            channels = int(rest[0])
            total += channels + channels**2
        elif rest:
            inputs, outputs = map(int, rest[0].split("-"))
            total += inputs * outputs * int(rest[1].split("x")[0]) ** 2 + outputs
    return total


@pytest.mark.parametrize("name", TABLES)
def test_layers_are_the_papers(name):
    model = build(ModelConfig(name, {"N": N}))
    assert networks(model) == TABLES[name]
    prior = 58 * N  # of the factorized prior: 3·1 + 3·(3·3) + 1·3 weights, 4·3 + 1 biases, 4·3 factors
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trained == convolutional_parameters(TABLES[name]) + prior


def test_the_papers_own_size():
    trained = sum(
        weight.numel() for weight in build(ModelConfig("balle", {"N": 128})).parameters() if weight.requires_grad
    )
    assert trained == 2 * (3 * 128 * 81 + 2 * 128 * 128 * 25) + 5 * 128 + 3 + 4 * (128 + 128**2) + 58 * 128


def test_the_roi_models_layers():
    model = build(ModelConfig("balle-li-roi", {"N": N}))
    M, z_channels = 32, 2
    latents = model.latent_codec
    described = networks(model) | {"h_a": [describe(layer) for layer in latents.h_a]}
    assert described == {
        "g_a": [*ANALYSIS[:2], "conv 8-16 5x5 /2", "gdn 16", f"conv 16-{M} 5x5 /2"],
        "h_a": [f"conv {M + 1}-8 3x3 /1", "relu", f"conv 8-{z_channels} 5x5 /2"],
        "g_s": [f"deconv {M}-16 5x5 *2", "igdn 16", "deconv 16-8 5x5 *2", *SYNTHESIS[3:]],
    }
    h_s = [describe(layer) for layer in latents.h_s]
    assert h_s == [f"deconv {z_channels + 4}-8 5x5 *2", "relu", "conv 8-8 1x1 /1", "relu", f"conv 8-{2 * M} 1x1 /1"]
    h_c = [describe(layer) for layer in latents.h_c]
    assert h_c == ["conv 8-8 3x3 /2", "relu", f"conv 8-{2 * M} 1x1 /1"]
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    powers, gains, prior = 4, 2 * M, 58 * z_channels
    assert trained == convolutional_parameters(described | {"h_s": h_s, "h_c": h_c}) + powers + gains + prior


@pytest.mark.parametrize("sides", [(64, 96), (48, 80)])  # of even and of odd numbers of latents
def test_the_roi_models_shapes_and_gradients(sides):
    model = build(ModelConfig("balle-li-roi", {"N": N}))
    x, grid = torch.rand(2, 3, *sides), (sides[0] // 16, sides[1] // 16)
    r = torch.tensor([-0.5, 1.0]).view(2, 1, 1, 1).expand(2, 1, *grid)
    output = model(x, r)
    assert output["x_hat"].shape == x.shape
    assert output["likelihoods"]["y"].shape == (2, 32, *grid)
    assert output["likelihoods"]["z"].shape == (2, 2, -(-grid[0] // 2), -(-grid[1] // 2))
    assert output["importance"].shape == (2, 1, *grid)
    bits = sum(likelihoods.log2().mean() for likelihoods in output["likelihoods"].values())
    (output["x_hat"].square().mean() - bits).backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)


def test_no_quality_map_is_one_of_nought():
    model = build(ModelConfig("balle-li-roi", {"N": N})).eval()
    x = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(model(x)["x_hat"], model(x, torch.zeros(1, 1, 3, 4))["x_hat"])


def test_quality_buys_precision_and_costs_bits_where_it_is_asked_for():
    latents = build(ModelConfig("balle-li-roi", {"N": N})).eval().latent_codec
    y, r = 5 * torch.randn(1, 32, 4, 4), torch.zeros(1, 1, 4, 4)
    r[..., 2:] = 2.0
    with torch.no_grad():
        even, right = latents(y, torch.zeros_like(r)), latents(y, r)
    error, more = ((output.y_hat - y).square().mean(dim=(0, 1, 2)) for output in (even, right))
    assert (more[2:] < 0.5 * error[2:]).all() and not (more[:2] < 0.5 * error[:2]).any()
    bits, more_bits = (-output.likelihoods["y"].log2().sum(dim=(0, 1, 2)) for output in (even, right))
    assert (more_bits[2:] > bits[2:]).all()


@pytest.mark.parametrize("name", TABLES)
def test_shapes_and_gradients(name):
    model = build(ModelConfig(name, {"N": N}))
    x = torch.rand(2, 3, 64, 96)
    output = model(x)
    grid = (64 // model.downsampling, 96 // model.downsampling)
    assert model.downsampling == (32 if "encoder" in name else 16)
    assert output["x_hat"].shape == x.shape
    assert output["likelihoods"]["y"].shape == (2, N, *grid)
    if name == "balle-li":
        assert output["importance"].shape == (2, 1, *grid)
    else:
        assert output["importance"] is None
    (output["x_hat"].square().mean() - output["likelihoods"]["y"].log2().mean()).backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)


@pytest.mark.parametrize("name", OWN_MODELS)
def test_evaluation_rounds_and_is_always_the_same(name):
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": N})).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        first, second = model(x), model(x)
        y = model.g_a(x)
        y_hat = model.latent_codec(y, None).y_hat
    assert torch.equal(first["x_hat"], second["x_hat"])
    assert all(torch.equal(first["likelihoods"][key], second["likelihoods"][key]) for key in first["likelihoods"])
    if name != "balle-li-roi":
        assert torch.equal(y_hat, y.round())
    else:
        assert (y_hat - y).abs().max() <= 0.5 + 1e-5


@pytest.mark.parametrize("name", OWN_MODELS)
def test_training_carries_noise(name):
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": N})).train()
    model.latent_codec.noisy_decoder = True
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        y = model.g_a(x)
        first, second = model.latent_codec(y, None), model.latent_codec(y, None)
    noise = first.y_hat - y
    assert noise.abs().max() <= 0.5 + 1e-5 and 0.2 < noise.std() < 0.4
    assert not torch.equal(first.y_hat, second.y_hat)
    assert not torch.equal(first.likelihoods["y"], second.likelihoods["y"])


def test_the_mask_learns_straight_through():
    probability = torch.tensor([0.2, 0.5, 0.51], requires_grad=True)
    mask = straight_through_mask(probability)
    assert mask.tolist() == pytest.approx([0, 0, 1])
    (mask * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert probability.grad.tolist() == [1, 2, 3]


def test_a_masked_place_carries_no_latents_and_the_importance_map_says_which():
    torch.manual_seed(0)
    model = build(ModelConfig("balle-li", {"N": N})).eval()
    with torch.no_grad():
        last = model.g_a[-1].importance[-2]
        last.weight.mul_(60)
        last.bias.sub_(last.weight.sum() / 2)  # what sigmoids give it lies about a half
    x = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        y, importance = model.g_a(x), model.importance(x)
        assert torch.equal(model(x)["importance"], importance)
    if not 0 < (importance > 0.5).float().mean() < 1:
        middle = importance.logit().median()
        with torch.no_grad():
            last.bias.sub_(middle)
            y, importance = model.g_a(x), model.importance(x)
    mask = importance[0, 0] > 0.5
    assert mask.any() and not mask.all()
    assert not y[0][:, ~mask].any() and y[0][:, mask].abs().sum(dim=0).min() > 0
