"""Our faster forms against the originals."""

import pytest
import torch
import torch.nn.functional as F
from compressai.layers import GDN as TheirGDN
from tiny_model import tiny_model
from torch import nn

from balle_li.models.layers import GDN, ScaledConvolution, SubpixelDeconvolution, deconv


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("kernel", "stride"), [(9, 4), (5, 2), (9, 2), (3, 1)])
def test_subpixel_deconvolution_is_a_transposed_convolution(kernel, stride):
    plain = nn.ConvTranspose2d(4, 3, kernel, stride, kernel // 2, stride - 1)
    ours = SubpixelDeconvolution(4, 3, kernel, stride, kernel // 2, stride - 1)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 5, 7)
    expected, got = plain(x), ours(x)
    torch.testing.assert_close(got, expected)
    expected.square().sum().backward()
    got.square().sum().backward()
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(ours)[name], gradient, rtol=1e-4, atol=1e-4)
    ours.freeze()
    torch.testing.assert_close(ours(x), expected)


def test_the_last_layer_takes_the_faster_form():
    assert isinstance(deconv(64, 3, 9, 4), SubpixelDeconvolution)
    assert not isinstance(deconv(64, 64, 5, 2), SubpixelDeconvolution)


@pytest.mark.parametrize(("outputs", "kernel", "stride"), [(20, 5, 2), (3, 9, 4)])
def test_what_lies_beyond_the_edge_may_be_the_last_row_and_column_again(outputs, kernel, stride):
    torch.manual_seed(0)
    layer, x = deconv(4, outputs, kernel, stride, edge="replicate"), torch.randn(2, 4, 3, 5)
    plain = nn.ConvTranspose2d(4, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1)
    plain.load_state_dict(layer.state_dict())
    larger = plain(F.pad(x, (2, 2, 2, 2), mode="replicate"))
    expected = larger[..., 2 * stride : -2 * stride, 2 * stride : -2 * stride]
    torch.testing.assert_close(layer(x), expected)
    if isinstance(layer, SubpixelDeconvolution):
        layer.freeze()
        torch.testing.assert_close(layer(x), expected)


def test_a_flat_picture_is_flat_to_its_edge():
    model = tiny_model("balle-li-roi").model
    with torch.no_grad():
        y = model.g_a(torch.full((1, 3, 64, 96), 0.8))
        x_hat = model.g_s(y)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y), rtol=1e-4, atol=1e-5)
    # Of equal latents every square of 16×16 pixels is the same, nearly: a repeated row may be of another phase.
    torch.testing.assert_close(x_hat, x_hat[..., 16:32, 16:32].repeat(1, 1, 4, 6), rtol=0, atol=0.005)


def scaled() -> ScaledConvolution:
    torch.manual_seed(0)
    return ScaledConvolution(3, 2, 3, torch.tensor([8.0, 0.5]))


def test_a_step_of_adam_moves_an_output_by_its_unit():
    layer, rate = scaled(), 0.01
    x = torch.ones(1, 3, 1, 1)
    before = layer(x)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    before.sum().backward()
    optimizer.step()
    terms = 3 + 1  # under the middle tap, and the bias
    torch.testing.assert_close((before - layer(x))[0, :, 0, 0], terms * rate * layer.units, rtol=1e-3, atol=0)


def test_the_state_of_a_scaled_convolution_is_that_of_the_plain_one():
    layer, plain, again = scaled(), nn.Conv2d(3, 2, 3, padding=1), scaled()
    with torch.no_grad():
        again.weight.zero_()
    torch.manual_seed(0)
    assert torch.equal(nn.Conv2d(3, 2, 3, padding=1).weight, layer.state_dict()["weight"])
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(1, 3, 6, 5)
    torch.testing.assert_close(layer(x), plain(x))
    again.load_state_dict(plain.state_dict())
    assert torch.equal(again.weight, layer.weight)
    assert torch.equal(again.bias, layer.bias)


def test_made_plain_a_scaled_convolution_does_the_same_and_learns_as_any_other():
    layer, x = scaled(), torch.randn(1, 3, 6, 5)
    before, state = layer(x), layer.state_dict()
    layer.as_plain()
    assert torch.equal(layer(x), before)
    assert torch.equal(layer.weight, state["weight"])
    assert torch.equal(layer.state_dict()["weight"], state["weight"])


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_compressais_in_forward_and_in_gradient(inverse):
    torch.manual_seed(0)
    theirs, ours = TheirGDN(6, inverse), GDN(6, inverse)
    theirs.gamma.data += 0.1 * torch.rand(6, 6)
    theirs.gamma.data[0, 1:3] = -0.5  # below the bound: no gradient that leads on down passes
    theirs.beta.data[2] = -0.1
    missing = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing.missing_keys == []
    x = torch.randn(2, 6, 5, 4, requires_grad=True)
    expected, got = theirs(x), ours(x)
    torch.testing.assert_close(got, expected)
    direction = torch.randn_like(x)
    (expected_x,) = torch.autograd.grad((expected * direction).sum(), x, retain_graph=True)
    (got_x,) = torch.autograd.grad((got * direction).sum(), x, retain_graph=True)
    torch.testing.assert_close(got_x, expected_x)
    (expected * direction).sum().backward()
    (got * direction).sum().backward()
    for name in ("beta", "gamma"):
        torch.testing.assert_close(gradients(ours)[name], gradients(theirs)[name], rtol=1e-4, atol=1e-5)
    assert gradients(ours)["gamma"].abs().max() > 0


@pytest.mark.parametrize("power", [None, 0.25, 0.4])
@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula_in_the_precision_of_its_input(inverse, power):
    torch.manual_seed(0)
    layer = GDN(6, inverse, power)
    layer.set_gamma(0.1 * torch.rand(6, 6))
    x = torch.randn(2, 6, 5, 4)
    expected = layer(x)
    beta, gamma = layer.finished_parameters()
    norm = torch.einsum("ij,bjhw->bihw", gamma, x**2) + beta[:, None, None]
    factor = norm ** (power or 0.5)
    torch.testing.assert_close(expected, x * factor if inverse else x / factor)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.03, atol=0.03)
    layer.freeze()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected.detach())


@pytest.mark.parametrize("inverse", [False, True])
def test_a_power_is_learned_if_one_is_given(inverse):
    assert "power" not in dict(GDN(6, inverse).named_parameters())
    layer = GDN(6, inverse, power=0.25)
    layer.set_gamma(torch.full((6, 6), 0.2))
    x = torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    layer(x).abs().sum().backward()
    assert layer.power.grad > 0 if inverse else layer.power.grad < 0


def test_a_smaller_power_is_undone_better():
    torch.manual_seed(0)
    x, errors = torch.randn(1, 6, 32, 32), {}
    for power in (0.25, 0.5):
        gdn, igdn = GDN(6, power=power), GDN(6, inverse=True, power=power)
        for layer in (gdn, igdn):
            layer.set_gamma(torch.full((6, 6), 0.2))
        errors[power] = (igdn(gdn(x)) - x).square().mean().item()
    assert errors[0.25] < 0.3 * errors[0.5]
