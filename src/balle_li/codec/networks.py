"""From a model folder's layer lists to torch modules for inference."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from balle_li.codec.layers import Layer

_FEW_CHANNELS = 8


class GDN(nn.Module):
    """Generalised divisive normalisation (Ballé et al., 2016): y_c = x_c / sqrt(beta_c + sum_j gamma_cj x_j²); inverse: times.

    x: (B, C, H, W); beta: (C,); gamma: (C, C).
    """

    def __init__(self, beta: Tensor, gamma: Tensor, inverse: bool) -> None:
        super().__init__()
        self.beta = nn.Parameter(beta, requires_grad=False)
        self.gamma = nn.Parameter(gamma[:, :, None, None], requires_grad=False)
        self.inverse = inverse

    def forward(self, x: Tensor) -> Tensor:
        norm = functional.conv2d(x * x, self.gamma, self.beta)
        return x * (norm.sqrt_() if self.inverse else norm.rsqrt_())


class SubpixelDeconvolution(nn.Module):
    """A transposed convolution computed as a convolution to stride² times the channels, then rearranged into pixels.

    The result is that of the transposed convolution; with three output channels and stride 4, as at the end of g_s,
    vector units are filled and it takes a fraction of the time. The output (B, out, H·s, W·s) lies in memory as rows
    of pixels.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, padding: int) -> None:
        super().__init__()
        entering, leaving, kernel, _ = weight.shape
        # Output pixel s·j + r gets input j + d through tap r + padding − s·d.
        radius = max((padding + stride - 1) // stride, (kernel - 1 - padding) // stride)
        phases = weight.new_zeros(stride, stride, leaving, entering, 2 * radius + 1, 2 * radius + 1)
        taps = [
            (phase, shift + radius, phase + padding - stride * shift)
            for phase in range(stride)
            for shift in range(-radius, radius + 1)
            if 0 <= phase + padding - stride * shift < kernel
        ]
        for row, i, u in taps:
            for column, j, v in taps:
                phases[row, column, :, :, i, j] = weight[:, :, u, v].T
        self.weight = nn.Parameter(phases.flatten(0, 2), requires_grad=False)
        self.bias = nn.Parameter(bias.repeat(stride * stride), requires_grad=False)
        self.stride, self.radius, self.leaving = stride, radius, leaving

    def forward(self, x: Tensor) -> Tensor:
        (batch, _, height, width), stride = x.shape, self.stride
        phases = functional.conv2d(x, self.weight, self.bias, padding=self.radius).permute(0, 2, 3, 1)
        pixels = phases.reshape(batch, height, width, stride, stride, self.leaving).permute(0, 1, 3, 2, 4, 5)
        return pixels.reshape(batch, height * stride, width * stride, self.leaving).permute(0, 3, 1, 2)


def build_network(
    layers: Sequence[Layer], weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """The network of checked `layers`, on `device`, channels last; weights as `ModelFolder.weights` names them."""
    modules = [_build_layer(layer, index, weights) for index, layer in enumerate(layers)]
    return nn.Sequential(*modules).to(device, dtype).to(memory_format=torch.channels_last).eval()


def fold_input_scale(weights: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """The weights of the same network for inputs that are still to be multiplied by `factor`; it begins with a convolution."""
    return {**weights, "0.weight": weights["0.weight"] * factor}


def fold_output_scale(
    layers: Sequence[Layer], weights: Mapping[str, Tensor], factor: float, shift: float
) -> dict[str, Tensor]:
    """The weights of the network that gives `factor` times the outputs plus `shift`; it ends with a convolution."""
    weight, bias = f"{len(layers) - 1}.weight", f"{len(layers) - 1}.bias"
    return {**weights, weight: weights[weight] * factor, bias: weights[bias] * factor + shift}


def _build_layer(layer: Layer, index: int, weights: Mapping[str, Tensor]) -> nn.Module:
    kind = layer["type"]
    if kind == "gdn":
        return GDN(weights[f"{index}.beta"], weights[f"{index}.gamma"], layer["inverse"])
    if kind == "sigmoid":
        return nn.Sigmoid()
    if kind == "relu":
        return nn.ReLU()
    weight, bias = weights[f"{index}.weight"], weights[f"{index}.bias"]
    stride, padding = layer["stride"], layer["padding"]
    if kind == "deconv" and layer["out"] <= _FEW_CHANNELS:
        return SubpixelDeconvolution(weight, bias, stride, padding)
    sizes = (layer["in"], layer["out"], layer["kernel"], stride, padding)
    module: nn.Module
    if kind == "conv":
        module = nn.utils.skip_init(nn.Conv2d, *sizes)
    else:
        module = nn.utils.skip_init(nn.ConvTranspose2d, *sizes, output_padding=layer["output_padding"])
    module.weight = nn.Parameter(weight, requires_grad=False)
    module.bias = nn.Parameter(bias, requires_grad=False)
    return module
