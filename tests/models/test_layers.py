"""Our faster forms against the originals."""

import pytest
import torch
from compressai.entropy_models import EntropyBottleneck as TheirBottleneck
from compressai.layers import GDN as TheirGDN
from torch import nn

from balle_li.models.entropy import EntropyBottleneck
from balle_li.models.layers import GDN, ConvolutionInUnits, SubpixelDeconvolution, deconv


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


def test_the_last_layer_takes_the_faster_form():
    assert isinstance(deconv(64, 3, 9, 4), SubpixelDeconvolution)
    assert not isinstance(deconv(64, 64, 5, 2), SubpixelDeconvolution)


def in_units() -> ConvolutionInUnits:
    torch.manual_seed(0)
    return ConvolutionInUnits(3, 2, 3, torch.tensor([8.0, 0.5]))


def test_a_step_of_adam_moves_an_output_by_its_unit():
    layer, rate = in_units(), 0.01
    x = torch.ones(1, 3, 1, 1)
    before = layer(x)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    before.sum().backward()
    optimizer.step()
    terms = 3 + 1  # under the middle tap, and the bias
    torch.testing.assert_close((before - layer(x))[0, :, 0, 0], terms * rate * layer.units, rtol=1e-3, atol=0)


def test_the_state_of_a_convolution_in_units_is_that_of_the_plain_one():
    layer, plain, again = in_units(), nn.Conv2d(3, 2, 3, padding=1), in_units()
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


def test_made_plain_a_convolution_in_units_does_the_same_and_learns_as_any_other():
    layer, x = in_units(), torch.randn(1, 3, 6, 5)
    before, state = layer(x), layer.state_dict()
    layer.as_plain()
    assert torch.equal(layer(x), before)
    assert torch.equal(layer.weight, state["weight"])
    assert torch.equal(layer.state_dict()["weight"], state["weight"])


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_compressais(inverse):
    torch.manual_seed(0)
    theirs, ours = TheirGDN(6, inverse), GDN(6, inverse)
    theirs.gamma.data += 0.1 * torch.rand(6, 6)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(ours(x), theirs(x))
    with torch.autocast("cpu", torch.bfloat16):
        half = ours(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), theirs(x), rtol=0.03, atol=0.03)
    beta, gamma = ours.finished_parameters()
    norm = torch.einsum("ij,bjhw->bihw", gamma, x**2) + beta[:, None, None]
    torch.testing.assert_close(ours(x), x * norm.sqrt() if inverse else x / norm.sqrt())


@pytest.fixture
def bottlenecks() -> tuple[TheirBottleneck, EntropyBottleneck]:
    torch.manual_seed(0)
    theirs, ours = TheirBottleneck(5), EntropyBottleneck(5)
    for factor in theirs.factors:
        factor.data.uniform_(-0.5, 0.5)
    theirs.quantiles.data[:, 0, 1] = torch.linspace(-0.4, 0.4, 5)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def test_the_bottleneck_is_compressais_in_evaluation(bottlenecks):
    theirs, ours = (bottleneck.eval() for bottleneck in bottlenecks)
    y = 8 * torch.randn(3, 5, 4, 6)
    for got, expected in zip(ours(y), theirs(y), strict=True):
        torch.testing.assert_close(got, expected)


def test_the_bottleneck_is_compressais_in_training(bottlenecks):
    theirs, ours = bottlenecks
    y = (8 * torch.randn(3, 5, 4, 6)).requires_grad_()
    noisy, likelihoods = ours(y, training=True)
    assert 0.4 < (noisy - y).abs().max() <= 0.5
    expected, _, _ = theirs._likelihood(noisy.detach().transpose(0, 1).reshape(5, 1, -1))
    torch.testing.assert_close(likelihoods.transpose(0, 1).reshape(5, 1, -1), expected)
    likelihoods.log2().sum().backward()
    expected.log2().sum().backward()
    for name, gradient in gradients(theirs).items():
        torch.testing.assert_close(gradients(ours)[name], gradient, rtol=1e-4, atol=1e-4)


def test_the_bottleneck_stays_in_fp32_under_autocast(bottlenecks):
    _, ours = bottlenecks
    with torch.autocast("cpu", torch.bfloat16):
        outputs, likelihoods = ours(torch.randn(1, 5, 4, 4).bfloat16())
    assert outputs.dtype == likelihoods.dtype == torch.float32


def test_likelihoods_far_out_are_bounded_and_differentiable(bottlenecks):
    _, ours = bottlenecks
    y = torch.full((1, 5, 2, 2), 1e6, requires_grad=True)
    _, likelihoods = ours(y)
    likelihoods.log2().sum().backward()
    assert likelihoods.min() >= 1e-9
    assert y.grad.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(ours).values())


def test_processes_together_draw_the_noise_of_one(bottlenecks):
    _, ours = bottlenecks
    y = torch.zeros(4, 5, 2, 2)
    torch.manual_seed(7)
    whole, _ = ours(y)
    for rank in (0, 1):
        ours.batch_share = (rank, 2)
        torch.manual_seed(7)
        part, _ = ours(y[2 * rank : 2 * rank + 2])
        assert torch.equal(part, whole[2 * rank : 2 * rank + 2])
