"""Networks whose arithmetic is that of whole numbers, so that every machine computes the same.

A value stands for a number times 2^8. The whole numbers are carried in float64: sums of whole numbers below 2^53 are
exact in any order. Ballé, Johnston & Minnen (2019), "Integer networks for data compression with latent-variable models".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from balle_li.codec.layers import Layer, check_layers, tensor_shapes
from balle_li.errors import BalleLiError

FRACTION = 2**8
LIMIT = 2**23  # of every value that enters or leaves a layer
MAX_SHIFT = 24
_EXACT = 2**53
_KINDS = ("conv", "deconv", "relu")


def check_integer_layers(layers: Any, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise BalleLiError unless the layers are well formed and no sum in them can reach 2^53.

    tensors: int32, named `<layer index>.<weight|bias>`.
    """
    check_layers(layers, where)
    for index, layer in enumerate(layers):
        place = f"{where}[{index}]"
        if layer["type"] not in _KINDS:
            raise BalleLiError(f"{place} must have a type among {', '.join(_KINDS)}, not {layer['type']}")
        for name, shape in tensor_shapes(layer).items():
            tensor = tensors.get(f"{index}.{name}")
            if tensor is None or tensor.dtype != torch.int32 or tuple(tensor.shape) != shape:
                raise BalleLiError(f"{place}: the tensor {index}.{name} must be int32 {shape}")
        if layer["type"] != "relu":
            _check_sums(layer, tensors[f"{index}.weight"], tensors[f"{index}.bias"], place)


class IntegerNetwork:
    """A checked network of integer layers; runs on the CPU."""

    def __init__(self, layers: Sequence[Layer], tensors: Mapping[str, Tensor]) -> None:
        self.layers = layers
        self._tensors = {name: tensor.double() for name, tensor in tensors.items()}

    def __call__(self, values: Tensor) -> Tensor:
        """`(B, in, h, w)` to `(B, out, h·scale, w·scale)`: whole numbers in float64, clipped to ±2^23 before every layer."""
        for index, layer in enumerate(self.layers):
            values = values.clamp(-LIMIT, LIMIT)
            values = values.clamp_min(0) if layer["type"] == "relu" else self._convolved(values, index, layer)
        return values.clamp(-LIMIT, LIMIT)

    def _convolved(self, values: Tensor, index: int, layer: Layer) -> Tensor:
        weight, bias = self._tensors[f"{index}.weight"], self._tensors[f"{index}.bias"]
        stride, padding = layer["stride"], layer["padding"]
        if layer["type"] == "conv":
            sums = functional.conv2d(values, weight, bias, stride, padding)
        else:
            sums = functional.conv_transpose2d(values, weight, bias, stride, padding, layer["output_padding"])
        scale = 2 ** layer["shift"]
        return torch.floor((sums + scale // 2) / scale)


def _check_sums(layer: Layer, weight: Tensor, bias: Tensor, place: str) -> None:
    shift = layer.get("shift")
    if not isinstance(shift, int) or isinstance(shift, bool) or not 0 <= shift <= MAX_SHIFT:
        raise BalleLiError(f"{place}.shift must be a whole number from 0 to {MAX_SHIFT}, not {shift!r}")
    inputs = (1, 2, 3) if layer["type"] == "conv" else (0, 2, 3)
    largest = weight.double().abs().sum(dim=inputs) * LIMIT + bias.double().abs() + 2**shift
    if float(largest.max()) >= _EXACT:
        raise BalleLiError(f"{place} holds weights whose sums can reach 2^53; train the model again")
