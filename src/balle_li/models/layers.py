"""The layers of the networks: convolutions of "same" geometry, one that learns in a scaled parametrization, GDN."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from balle_li.latents.base import bounded

_PEDESTAL = 2.0**-36  # keeps the slope of the reparametrization away from 0
_LEAST_BETA = 1e-6


Edge = Literal["zeros", "replicate"]
"""What lies beyond the edge of a layer's input: zeros, or its last row and column, repeated."""


def conv(inputs: int, outputs: int, kernel: int, stride: int, edge: Edge = "zeros") -> nn.Conv2d:
    """Convolution `(B, inputs, H, W)` to `(B, outputs, H/stride, W/stride)`."""
    layer = RepeatingConvolution if edge == "replicate" else nn.Conv2d
    return layer(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode=edge)


def deconv(inputs: int, outputs: int, kernel: int, stride: int, edge: Edge = "zeros") -> nn.ConvTranspose2d:
    """Transposed convolution `(B, inputs, H, W)` to `(B, outputs, stride·H, stride·W)`."""
    # Few outputs leave the vector units of the direct algorithm idle; there the sub-pixel form is the faster one.
    few = outputs < 16 and stride > 1 and (kernel // 2) % stride == 0
    layer = SubpixelDeconvolution if few else Deconvolution
    return layer(inputs, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1, edge=edge)


def repeated(x: Tensor, border: int) -> Tensor:
    """x `(B, C, H, W)` with its outermost rows and columns `border` times more on each side."""
    if not torch.compiler.is_compiling():
        return F.pad(x, (border,) * 4, mode="replicate")
    # The gradient of that cannot be compiled for tensors in channels-last order (torch 2.14: its strides are taken to be others).
    rows = x[..., :1, :].expand(-1, -1, border, -1), x, x[..., -1:, :].expand(-1, -1, border, -1)
    x = torch.cat(rows, dim=2)
    return torch.cat((x[..., :1].expand(-1, -1, -1, border), x, x[..., -1:].expand(-1, -1, -1, border)), dim=3)


class RepeatingConvolution(nn.Conv2d):
    """A convolution whose input goes on beyond its edge by repetition."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(repeated(input, int(self.padding[0])), weight, bias, self.stride)


class Deconvolution(nn.ConvTranspose2d):
    """A transposed convolution whose input may go on beyond its edge as a convolution's may: `edge`."""

    def __init__(self, *arguments: Any, edge: Edge = "zeros", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        # Repeated rows and columns that have a say in the outputs; zeros have none.
        self.border = int(self.padding[0]) // self.stride[0] if edge == "replicate" else 0

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As `nn.Conv2d` has it: the layer with another weight and bias."""
        padding = int(self.padding[0]) + self.border * self.stride[0]  # cuts off what the border adds
        return F.conv_transpose2d(self._bordered(input), weight, bias, self.stride, padding, self.output_padding)

    def _bordered(self, x: Tensor) -> Tensor:
        return repeated(x, self.border) if self.border else x


class SubpixelDeconvolution(Deconvolution):
    """A transposed convolution computed as a convolution to outputs·stride² channels and a pixel shuffle.

    Same parameters and, up to rounding, the same result (Shi et al. 2016, "Is the deconvolution layer the same as a
    convolutional layer?"). For the last layer, 9×9 ↑4 to 3 channels, training on a CPU is a third faster.
    The kernel is 2·padding + 1 wide, and the padding a multiple of the stride.
    """

    _frozen: tuple[Tensor, Tensor | None] | None = None

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self._frozen is None:
            weight, bias = self._phases().flatten(0, 2), self.bias
            bias = None if bias is None else bias.repeat_interleave(self.stride[0] ** 2)
            return F.pixel_shuffle(self._convolved(input, weight, bias), self.stride[0])
        weight, bias = self._frozen
        stride, (batch, _, height, width) = self.stride[0], input.shape
        phases = self._convolved(input, weight, bias).permute(0, 2, 3, 1)
        rows = phases.reshape(batch, height, width, stride, stride, self.out_channels).transpose(2, 3)
        return rows.reshape(batch, height * stride, width * stride, self.out_channels).permute(0, 3, 1, 2)

    @torch.no_grad()
    def freeze(self) -> None:
        """Prepare for inference alone: regroup the kernel once, in the order in which pixels lie in memory."""
        weight = self._phases().permute(1, 2, 0, 3, 4, 5).flatten(0, 2).contiguous(memory_format=torch.channels_last)
        self._frozen = weight, None if self.bias is None else self.bias.repeat(self.stride[0] ** 2)

    def _convolved(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(self._bordered(input), weight, bias, padding=weight.shape[-1] // 2 - self.border)

    def _phases(self) -> Tensor:
        """The kernel of each phase: (outputs, stride, stride, inputs, taps, taps)."""
        inputs, outputs, kernel, _ = self.weight.shape
        stride, reach = self.stride[0], int(self.padding[0]) // self.stride[0]
        # Output stride·i + a takes input i + d through the kernel's tap a + stride·(reach − d), so each of the stride
        # phases a has a short kernel of its own, over d = −reach … reach: the taps, regrouped, run against d.
        taps = 2 * reach + 1
        weight = F.pad(self.weight, (0, taps * stride - kernel) * 2)
        return weight.view(inputs, outputs, taps, stride, taps, stride).flip(2, 4).permute(1, 3, 5, 0, 2, 4)


class ScaledConvolution(nn.Conv2d):
    """A 1×1 or larger convolution in a scaled parametrization: it learns weights and biases over `units`, one for each output.

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


class GDN(nn.Module):
    """Generalised divisive normalisation (Ballé et al. 2016), computed in the precision of its input.

        y = x / (beta + gamma · x²)^power        inverse:  y = x · (beta + gamma · x²)^power

    power: None for ½, as usual; else where it starts, and then it is learned, one for the layer. The inverse knows y² in place
    of x², so it undoes the first only nearly; the smaller the power, the better.

    What is learned of beta and gamma are square roots of them plus a pedestal, which keeps both from going negative and
    from getting stuck at 0 (Ballé 2018, "Efficient nonlinear transforms for lossy image compression"). beta starts at 1,
    gamma as a hundredth of the identity, nearly without effect, until `start_as_klt` sets it.
    """

    reach = 0  # of the tiles: every place depends on itself alone
    _frozen: tuple[Tensor, Tensor] | None = None

    def __init__(self, channels: int, inverse: bool = False, power: float | None = None) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(_root(torch.ones(channels)))
        self.gamma = nn.Parameter(_root(0.01 * torch.eye(channels)))
        self.power = None if power is None else nn.Parameter(torch.full((), power))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same shape and dtype."""
        # Autocast's own rules would carry the square and the root in fp32 on a GPU, twice the memory traffic.
        with torch.autocast(x.device.type, enabled=False):
            beta, gamma = self._frozen or self.finished_parameters()
            norm = F.conv2d(x * x, gamma.to(x.dtype)[:, :, None, None], beta.to(x.dtype))
            # In place where no gradient needs the parts: large fresh tensors cost page faults.
            out = None if torch.is_grad_enabled() else norm
            if self.power is None:
                factor = torch.sqrt(norm, out=out) if self.inverse else torch.rsqrt(norm, out=out)
            else:
                exponent = self.power if self.inverse else -self.power
                # torch.pow takes twice the time, and four times in the gradient
                factor = torch.exp(torch.mul(torch.log(norm, out=out), exponent, out=out), out=out)
            return torch.mul(x, factor, out=out)

    def finished_parameters(self) -> tuple[Tensor, Tensor]:
        """beta `(C,)` and gamma `(C, C)` as the formula has them."""
        return _square(self.beta, _LEAST_BETA), _square(self.gamma, 0.0)

    @torch.no_grad()
    def freeze(self) -> None:
        """Prepare for inference alone: work out beta and gamma once."""
        self._frozen = self.finished_parameters()

    @torch.no_grad()
    def set_gamma(self, gamma: Tensor) -> None:
        """Learn on from this gamma `(C, C)`, not negative."""
        self.gamma.copy_(_root(gamma))


def _root(value: Tensor) -> Tensor:
    """What is learned of a value that is not negative."""
    return torch.sqrt(torch.clamp_min(value + _PEDESTAL, _PEDESTAL))


def _square(root: Tensor, least: float) -> Tensor:
    """The value, at least `least`, of which `root` is learned."""
    return bounded(root, (least + _PEDESTAL) ** 0.5).square() - _PEDESTAL
