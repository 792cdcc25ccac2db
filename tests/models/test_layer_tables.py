"""The models' layers against the paper's description: kinds, strides, channels, parameter counts."""

import pytest
import torch
from torch import nn

from balle_li.models.config import ModelConfig
from balle_li.models.layers import GDN
from balle_li.models.registry import build

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
        "features": [*ANALYSIS, "gdn 8"],
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
    model = build(ModelConfig(name, N))
    described = {network: [describe(layer) for layer in layers] for network, layers in model.networks().items()}
    assert described == TABLES[name]
    prior = 58 * N  # of the entropy bottleneck: 3·1 + 3·(3·3) + 1·3 weights, 4·3 + 1 biases, 4·3 factors
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trained == convolutional_parameters(TABLES[name]) + prior


def test_the_papers_own_size():
    trained = sum(weight.numel() for weight in build(ModelConfig("balle", 128)).parameters() if weight.requires_grad)
    assert trained == 2 * (3 * 128 * 81 + 2 * 128 * 128 * 25) + 5 * 128 + 3 + 4 * (128 + 128**2) + 58 * 128


def test_the_roi_models_layers():
    model = build(ModelConfig("balle-li-roi", N))
    M, map_channels = 24, 2
    described = {network: [describe(layer) for layer in layers] for network, layers in model.networks().items()}
    assert described == {
        "g_a": [*ANALYSIS[:-1], f"conv 8-{M} 5x5 /2"],
        "h_a": [f"conv {M + 1}-8 3x3 /1", "relu", f"conv 8-{map_channels} 5x5 /2"],
        "g_s": [f"deconv {M}-8 5x5 *2", *SYNTHESIS[1:]],
    }
    h_s = [describe(layer) for layer in model.h_s]
    assert h_s == [f"deconv {map_channels + 4}-8 5x5 *2", "relu", "conv 8-8 1x1 /1", "relu", f"conv 8-{2 * M} 1x1 /1"]
    h_c = [describe(layer) for layer in model.h_c]
    assert h_c == ["conv 6-8 3x3 /1", "relu", f"conv 8-{2 * M} 1x1 /1"]
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trained == convolutional_parameters(described | {"h_s": h_s, "h_c": h_c}) + 58 * map_channels + 2 * M


@pytest.mark.parametrize("sides", [(64, 96), (48, 80)])  # of even and of odd numbers of latents
def test_the_roi_models_shapes_and_gradients(sides):
    model = build(ModelConfig("balle-li-roi", N))
    x, grid = torch.rand(2, 3, *sides), (sides[0] // 16, sides[1] // 16)
    r = torch.tensor([-0.5, 1.0]).view(2, 1, 1, 1).expand(2, 1, *grid)
    output = model(x, r)
    assert output["x_hat"].shape == x.shape
    assert output["likelihoods"]["y"].shape == (2, 24, *grid)
    assert output["likelihoods"]["z"].shape == (2, 2, -(-grid[0] // 2), -(-grid[1] // 2))
    assert output["importance"].shape == (2, 1, *grid)
    bits = sum(likelihoods.log2().mean() for likelihoods in output["likelihoods"].values())
    (output["x_hat"].square().mean() - bits).backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)


def test_no_importance_is_an_importance_of_nought():
    model = build(ModelConfig("balle-li-roi", N)).eval()
    x = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(model(x)["x_hat"], model(x, torch.zeros(1, 1, 3, 4))["x_hat"])


def test_the_context_of_the_second_half_is_the_first_halfs_neighbours():
    torch.manual_seed(0)
    model = build(ModelConfig("balle-li-roi", N)).eval()
    torch.nn.init.normal_(model.h_c[-1].weight)
    mean = torch.zeros(1, 24, 4, 6)
    u, index = 5 * torch.randn(mean.shape), torch.full_like(mean, 20.0)
    before, _ = model.with_context(u, mean, index)
    first = (torch.arange(4)[:, None] + torch.arange(6)) % 2 == 0
    assert not before[..., first].any() and before[..., ~first].any()
    for row, column, moved in ((1, 2, set()), (2, 2, {(1, 2), (3, 2), (2, 1), (2, 3)})):
        changed = u.clone()
        changed[0, 0, row, column] += 40
        difference = (model.with_context(changed, mean, index)[0] != before)[0].any(dim=0)
        assert {tuple(place.tolist()) for place in difference.nonzero()} == moved


def test_importance_costs_bits_and_buys_precision_where_it_is():
    model = build(ModelConfig("balle-li-roi", N)).eval()
    x, r = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 4, 4)
    r[..., 2:] = 2.0
    with torch.no_grad():
        y = model.g_a(x)
        u_hat = {}
        for name, importance in (("even", torch.zeros_like(r)), ("right", r)):
            gain = torch.exp(model.encoder_gain.view(1, -1, 1, 1) * importance)
            mean, index = torch.zeros_like(y), torch.full_like(y, 20.0)
            u_hat[name] = model.gaussian_conditional(y * gain, mean, index)[0] / gain
    error = {name: (values - y).square().mean(dim=(0, 1, 2)) for name, values in u_hat.items()}
    assert torch.equal(error["even"][:2], error["right"][:2])
    assert (error["right"][2:] < error["even"][2:]).all()


@pytest.mark.parametrize("name", TABLES)
def test_shapes_and_gradients(name):
    model = build(ModelConfig(name, N))
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


def test_evaluation_is_deterministic_and_rounds():
    model = build(ModelConfig("balle", N)).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        first, second = model(x), model(x)
        y_hat, _ = model.entropy_bottleneck(model.g_a(x))
    assert torch.equal(first["x_hat"], second["x_hat"])
    assert torch.equal(y_hat, y_hat.round())


def test_a_masked_position_carries_no_latents_and_the_mask_learns():
    from balle_li.models.balle_li import straight_through_mask

    probability = torch.tensor([0.2, 0.5, 0.51], requires_grad=True)
    mask = straight_through_mask(probability)
    assert mask.tolist() == pytest.approx([0, 0, 1])
    (mask * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert probability.grad.tolist() == [1, 2, 3]
