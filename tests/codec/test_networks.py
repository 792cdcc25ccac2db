import pytest
import torch
from torch.nn import functional

from balle_li.codec.networks import GDN, SubpixelDeconvolution, build_network, fold_input_scale, fold_output_scale


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "output_padding"), [(9, 4, 4, 3), (5, 2, 2, 1), (3, 1, 1, 0), (4, 2, 1, 0)]
)
def test_subpixel_deconvolution_is_the_transposed_convolution(kernel, stride, padding, output_padding):
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 5, 6, 7, generator=generator), torch.randn(5, 3, kernel, kernel, generator=generator)
    bias = torch.randn(3, generator=generator)
    expected = functional.conv_transpose2d(x, weight, bias, stride, padding, output_padding)
    torch.testing.assert_close(SubpixelDeconvolution(weight, bias, stride, padding)(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_follows_its_formula(inverse):
    generator = torch.Generator().manual_seed(0)
    x, beta, gamma = (torch.rand(*shape, generator=generator) for shape in ((1, 4, 3, 2), (4,), (4, 4)))
    norm = torch.sqrt(beta[:, None, None] + torch.einsum("cj,jhw->chw", gamma, x[0] ** 2))
    expected = x[0] * norm if inverse else x[0] / norm
    torch.testing.assert_close(GDN(beta, gamma, inverse)(x)[0], expected)


def test_folded_scales_give_the_scaled_network():
    layers = [{"type": "conv", "in": 3, "out": 3, "kernel": 3, "stride": 1, "padding": 1}] * 2
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"{i}.{name}": torch.randn(
            3, *([3, 3, 3] if name == "weight" else []), generator=generator, dtype=torch.float64
        )
        for i in (0, 1)
        for name in ("weight", "bias")
    }
    device, dtype = torch.device("cpu"), torch.float64
    x = torch.rand(1, 3, 5, 4, dtype=dtype)
    folded = fold_output_scale(layers, fold_input_scale(weights, 1 / 255), 255, -127.5)
    plain = build_network(layers, weights, device, dtype)(x)
    torch.testing.assert_close(
        build_network(layers, folded, device, dtype)(255 * x), 255 * plain - 127.5, rtol=1e-5, atol=1e-4
    )
