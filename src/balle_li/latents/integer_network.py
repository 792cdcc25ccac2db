"""Networks whose arithmetic is that of whole numbers, so that every machine computes the same.

A value stands for a number times 2^8. The whole numbers are carried in float64: sums of whole numbers below 2^53 are
exact in any order. Ballé, Johnston & Minnen (2019), "Integer networks for data compression with latent-variable models".
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from balle_li.errors import BalleLiError

FRACTION_BITS = 8
FRACTION = 2**FRACTION_BITS
LIMIT = 2**23  # of every value that enters or leaves a layer
WEIGHT_BITS, BIAS_BITS = 15, 30  # of a layer's largest weight and bias
MAX_SHIFT = 24
_EXACT = 2**53


def integer_tensors(name: str, network: nn.Sequential) -> dict[str, Tensor]:
    """`<name>.<i>.weight` and `.bias`, int32, and `.shift`, int32 of one number, of every convolution of a trained network.

    A layer's weights are whole numbers over 2^shift, rounded from the trained ones; its bias is over 2^(shift + 8).
    Raises BalleLiError: a weight is too large, or not a number.
    """
    tensors = {}
    for index, layer in enumerate(network):
        if isinstance(layer, nn.ReLU):
            continue
        place = f"{name}.{index}"
        state = layer.state_dict()
        weight, bias = (state[part].detach().cpu().double() for part in ("weight", "bias"))
        if not bool(weight.isfinite().all() and bias.isfinite().all()):
            raise BalleLiError(f"{place} holds a number that is not finite; the training diverged")
        shift = min(MAX_SHIFT, WEIGHT_BITS - _exponent(weight), BIAS_BITS - FRACTION_BITS - _exponent(bias))
        if shift < 0:
            raise BalleLiError(f"{place} has a weight or bias too large for whole numbers; the training diverged")
        tensors[f"{place}.weight"] = torch.round(weight * 2**shift).int()
        tensors[f"{place}.bias"] = torch.round(bias * 2 ** (shift + FRACTION_BITS)).int()
        tensors[f"{place}.shift"] = torch.tensor([shift], dtype=torch.int32)
    return tensors


class IntegerNetwork:
    """The integer form of `network`, convolutions and ReLU, whose geometry it takes; runs on the CPU.

    tensors: as `integer_tensors` makes them. Raises BalleLiError unless they fit, and no sum in them can reach 2^53.
    """

    def __init__(self, name: str, network: nn.Sequential, tensors: Mapping[str, Tensor]) -> None:
        self.network = network
        self._weights: dict[int, tuple[Tensor, Tensor, int]] = {}
        for index, layer in enumerate(network):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                self._weights[index] = _checked(f"{name}.{index}", layer, tensors)
            elif not isinstance(layer, nn.ReLU):
                raise BalleLiError(
                    f"{name}.{index} is a {type(layer).__name__}; convolutions and ReLU have whole numbers"
                )

    def __call__(self, values: Tensor) -> Tensor:
        """`(B, in, h, w)` to `(B, out, h·scale, w·scale)`: whole numbers in float64, clipped to ±2^23 before every layer."""
        for index, layer in enumerate(self.network):
            values = values.clamp(-LIMIT, LIMIT)
            values = self._convolved(values, index, layer) if index in self._weights else values.clamp_min(0)
        return values.clamp(-LIMIT, LIMIT)

    def _convolved(self, values: Tensor, index: int, layer: Any) -> Tensor:
        weight, bias, shift = self._weights[index]
        if type(layer)._conv_forward is nn.ConvTranspose2d._conv_forward:  # torch's own, where it is empty
            sums = F.conv_transpose2d(values, weight, bias, layer.stride, layer.padding, layer.output_padding)
        else:
            sums = layer._conv_forward(values, weight, bias)
        return torch.floor((sums + 2**shift // 2) / 2**shift)


def _checked(
    place: str, layer: nn.Conv2d | nn.ConvTranspose2d, tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, int]:
    """Weight and bias in float64, and the shift."""
    shapes = {"weight": layer.weight.shape, "bias": (layer.out_channels,), "shift": (1,)}
    found = {part: tensors.get(f"{place}.{part}") for part in shapes}
    for part, shape in shapes.items():
        tensor = found[part]
        if tensor is None or tensor.dtype != torch.int32 or tuple(tensor.shape) != tuple(shape):
            raise BalleLiError(f"tables.{place}.{part} must be int32 {tuple(shape)}")
    weight, bias, shift = (tensor.cpu() for tensor in found.values() if tensor is not None)
    if not 0 <= int(shift) <= MAX_SHIFT:
        raise BalleLiError(f"tables.{place}.shift must be a whole number from 0 to {MAX_SHIFT}, not {int(shift)}")
    inputs = (0, 2, 3) if isinstance(layer, nn.ConvTranspose2d) else (1, 2, 3)
    largest = weight.double().abs().sum(dim=inputs) * LIMIT + bias.double().abs() + 2 ** int(shift)
    if float(largest.max()) >= _EXACT:
        raise BalleLiError(f"tables.{place} holds weights whose sums can reach 2^53; train the model again")
    return weight.double(), bias.double(), int(shift)


def _exponent(values: Tensor) -> int:
    """The least e with |values| < 2^e."""
    return math.frexp(float(values.abs().max()))[1]
