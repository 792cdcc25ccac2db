"""The layers of the networks: "same" convolutions that scale the side by a whole number or learn in units of their own, GDN."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from balle_li.models import compressai_classes


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """Convolution `(B, inputs, H, W)` to `(B, outputs, H/stride, W/stride)`."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


def deconv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """Transposed convolution `(B, inputs, H, W)` to `(B, outputs, stride·H, stride·W)`."""
    # Few outputs leave the vector units of the direct algorithm idle; there the sub-pixel form is the faster one.
    few = outputs < 16 and stride > 1 and (kernel // 2) % stride == 0
    layer = SubpixelDeconvolution if few else nn.ConvTranspose2d
    return layer(inputs, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1)


class SubpixelDeconvolution(nn.ConvTranspose2d):
    """A transposed convolution computed as a convolution to outputs·stride² channels and a pixel shuffle.

    Same parameters and, up to rounding, the same result (Shi et al. 2016, "Is the deconvolution layer the same as a
    convolutional layer?"). For the last layer, 9×9 ↑4 to 3 channels, training on a CPU is a third faster.
    The kernel is 2·padding + 1 wide, and the padding a multiple of the stride.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        inputs, outputs, kernel, _ = self.weight.shape
        stride, reach = self.stride[0], int(self.padding[0]) // self.stride[0]
        # Output stride·i + a takes input i + d through the kernel's tap a + stride·(reach − d), so each of the stride
        # phases a has a short kernel of its own, over d = −reach … reach: the taps, regrouped, run against d.
        taps = 2 * reach + 1
        weight = F.pad(self.weight, (0, taps * stride - kernel) * 2)
        weight = weight.view(inputs, outputs, taps, stride, taps, stride).flip(2, 4)
        weight = weight.permute(1, 3, 5, 0, 2, 4).reshape(outputs * stride**2, inputs, taps, taps)
        bias = None if self.bias is None else self.bias.repeat_interleave(stride**2)
        return F.pixel_shuffle(F.conv2d(input, weight, bias, padding=reach), stride)


class ConvolutionInUnits(nn.Conv2d):
    """A convolution that learns its weights in `units`, one for each output, instead of as they are.

    A step of Adam moves every weight by about the learning rate, whatever the output means. Where an output has a long
    way to go its unit makes the steps longer, until `as_plain`. A state dict holds the finished weights, those of the
    plain convolution that does the same.

    units: `(outputs,)`, powers of two, so that nothing is rounded on the way.
    """

    units: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, units: Tensor) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.register_buffer("units", torch.ones(outputs), persistent=False)
        self._learn_in(units)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, *self.finished_parameters())

    def finished_parameters(self) -> tuple[Tensor, Tensor]:
        """weight `(outputs, inputs, k, k)` and bias `(outputs,)` of the plain convolution."""
        assert self.bias is not None
        return self.weight * self.units[:, None, None, None], self.bias * self.units

    def as_plain(self) -> None:
        """From now on learn the finished weights as they are: for a training that starts near its goal."""
        self._learn_in(torch.ones_like(self.units))

    def _learn_in(self, units: Tensor) -> None:
        finished = self.state_dict()
        self.units.copy_(units)
        self.load_state_dict(finished)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, value in zip(("weight", "bias"), self.finished_parameters(), strict=True):
            destination[prefix + name] = value if keep_vars else value.detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        own = dict(state_dict)
        for name, units in (("weight", self.units[:, None, None, None]), ("bias", self.units)):
            if prefix + name in own:
                own[prefix + name] = own[prefix + name] / units.to(own[prefix + name].device)
        super()._load_from_state_dict(own, prefix, *rest)


class GDN(compressai_classes.GDN):
    """CompressAI's generalised divisive normalisation, computed in the precision of its input.

        y = x / sqrt(beta + gamma · x²)        inverse:  y = x · sqrt(beta + gamma · x²)

    gamma starts as a hundredth of the identity, nearly without effect, until `start_as_klt` sets it.
    Autocast's own rules would carry the square and the root in fp32 on a GPU, twice the memory traffic.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__(channels, inverse=inverse, gamma_init=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same shape and dtype."""
        with torch.autocast(x.device.type, enabled=False):
            beta, gamma = self.finished_parameters()
            channels = x.shape[1]
            norm = F.conv2d(x * x, gamma.to(x.dtype).view(channels, channels, 1, 1), beta.to(x.dtype))
            return x * (torch.sqrt(norm) if self.inverse else torch.rsqrt(norm))

    def finished_parameters(self) -> tuple[Tensor, Tensor]:
        """beta `(C,)` and gamma `(C, C)` as the formula has them, after the reparametrisation that keeps them positive."""
        return self.beta_reparam(self.beta), self.gamma_reparam(self.gamma)
