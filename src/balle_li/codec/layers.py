"""The layers a transform may be made of: what each is called in a model folder, its tensors' shapes and its geometry.

Every layer keeps "same" geometry: a convolution of stride s turns a side of n·s into n, a transposed one n into n·s.
Tiling relies on it.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from balle_li.errors import BalleLiError

Layer = Mapping[str, Any]

_FIELDS: dict[str, tuple[str, ...]] = {
    "conv": ("in", "out", "kernel", "stride", "padding"),
    "deconv": ("in", "out", "kernel", "stride", "padding", "output_padding"),
    "gdn": ("channels",),
    "sigmoid": (),
    "relu": (),
}
_MAX_CHANNELS, _MAX_KERNEL, _MAX_STRIDE = 4096, 31, 16


def check_layers(layers: Any, where: str) -> None:
    """Raise BalleLiError unless `layers` is a list of well-formed layers whose channels follow on one another."""
    if not isinstance(layers, list) or not layers:
        raise BalleLiError(f"{where} must be a list of layers")
    channels = None
    for index, layer in enumerate(layers):
        place = f"{where}[{index}]"
        _check_layer(layer, place)
        entering, leaving = _channels(layer)
        if None not in (channels, entering) and entering != channels:
            raise BalleLiError(f"{place} takes {entering} channels but is given {channels}")
        channels = leaving or channels


def tensor_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The tensors of a layer and their shapes; a transposed convolution's weight is (in, out, kernel, kernel)."""
    if layer["type"] == "conv":
        return {"weight": (layer["out"], layer["in"], layer["kernel"], layer["kernel"]), "bias": (layer["out"],)}
    if layer["type"] == "deconv":
        return {"weight": (layer["in"], layer["out"], layer["kernel"], layer["kernel"]), "bias": (layer["out"],)}
    if layer["type"] == "gdn":
        return {"beta": (layer["channels"],), "gamma": (layer["channels"], layer["channels"])}
    return {}


def channels_in(layers: Sequence[Layer]) -> int | None:
    """Channels that enter a network, None where every layer takes any number."""
    return next((entering for entering, _ in map(_channels, layers) if entering is not None), None)


def channels_out(layers: Sequence[Layer]) -> int | None:
    """Channels that leave a network, None where every layer takes any number."""
    return next((leaving for _, leaving in map(_channels, reversed(layers)) if leaving is not None), None)


def scale(layers: Sequence[Layer]) -> Fraction:
    """Output side over input side: 1/16 for an analysis transform ↓16, 16 for its mirror."""
    total = Fraction(1)
    for layer in layers:
        total *= _scale(layer)
    return total


def input_span(layers: Sequence[Layer], start: int, stop: int) -> tuple[int, int]:
    """The stretch of inputs [first, last) that decides outputs [start, stop) along one axis; it may pass the picture's edge."""
    for layer in reversed(layers):
        if layer["type"] == "conv":
            kernel, stride, padding = layer["kernel"], layer["stride"], layer["padding"]
            start, stop = start * stride - padding, (stop - 1) * stride - padding + kernel
        elif layer["type"] == "deconv":
            kernel, stride, padding = layer["kernel"], layer["stride"], layer["padding"]
            start, stop = -((kernel - 1 - padding - start) // stride), (stop - 1 + padding) // stride + 1
    return start, stop


def _check_layer(layer: Any, place: str) -> None:
    if not isinstance(layer, dict) or layer.get("type") not in _FIELDS:
        raise BalleLiError(f"{place} must have a type among {', '.join(_FIELDS)}")
    for field in _FIELDS[layer["type"]]:
        if not isinstance(layer.get(field), int) or isinstance(layer[field], bool) or layer[field] < 0:
            raise BalleLiError(f"{place}.{field} must be a whole number, not {layer.get(field)!r}")
    if layer["type"] == "gdn" and not isinstance(layer.get("inverse"), bool):
        raise BalleLiError(f"{place}.inverse must be true or false")
    if any(not 1 <= size <= _MAX_CHANNELS for size in _channels(layer) if size is not None):
        raise BalleLiError(f"{place} must have between 1 and {_MAX_CHANNELS} channels")
    if layer["type"] in ("conv", "deconv"):
        kernel, stride = layer["kernel"], layer["stride"]
        if not (1 <= kernel <= _MAX_KERNEL and 1 <= stride <= _MAX_STRIDE):
            raise BalleLiError(f"{place}: kernel must be 1 to {_MAX_KERNEL} and stride 1 to {_MAX_STRIDE}")
        excess = kernel - 2 * layer["padding"]
        same = 1 <= excess <= stride if layer["type"] == "conv" else excess + layer["output_padding"] == stride
        if not same:
            raise BalleLiError(
                f"{place}: the padding must make the output's side exactly the input's times or over the stride"
            )


def _channels(layer: Layer) -> tuple[int | None, int | None]:
    if layer["type"] in ("conv", "deconv"):
        return layer["in"], layer["out"]
    return layer.get("channels"), layer.get("channels")


def _scale(layer: Layer) -> Fraction:
    if layer["type"] == "conv":
        return Fraction(1, layer["stride"])
    return Fraction(layer["stride"]) if layer["type"] == "deconv" else Fraction(1)
