"""Tiles of a grid, each with the stretch of inputs that decides it: how pictures of any size pass through in bounded memory.

A network can be tiled when it is made of layers of "same" geometry, which turn a side of n·s into n or n into n·s: the
layers known here, `nn.Sequential` of them, and any module that declares two attributes of its own:

    reach: int        how many inputs to either side of those under an output have a say in it
    scale: Fraction   output side over input side; 1 where it is left out
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

from torch import nn

Progress = Callable[[float], None]
Tile = tuple[slice, slice]

_POINTWISE = (
    nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh,
)  # fmt: skip


class Untileable(Exception):
    """A module's outputs may depend on any of its inputs: its geometry is neither known nor declared."""


def scale(module: nn.Module) -> Fraction:
    """Output side over input side: 1/16 for an analysis transform ↓16. Raises Untileable."""
    if isinstance(module, nn.Sequential):
        total = Fraction(1)
        for layer in module:
            total *= scale(layer)
        return total
    if _declared_reach(module) is not None:
        return Fraction(getattr(module, "scale", 1))
    if isinstance(module, nn.Conv2d):
        _check_same(module, excess=_taps(module) - 2 * _padding(module))
        return Fraction(1, module.stride[0])
    if isinstance(module, nn.ConvTranspose2d):
        left = _taps(module) - 2 * _padding(module) + module.output_padding[0]
        _check_same(module, excess=1 if left == module.stride[0] else 0)
        return Fraction(module.stride[0])
    if isinstance(module, nn.PixelShuffle):
        return Fraction(module.upscale_factor)
    if isinstance(module, nn.PixelUnshuffle):
        return Fraction(1, module.downscale_factor)
    if isinstance(module, _POINTWISE):
        return Fraction(1)
    raise Untileable(type(module).__name__)


def input_span(module: nn.Module, start: int, stop: int) -> tuple[int, int]:
    """The stretch of inputs [first, last) that decides outputs [start, stop) along one axis; it may pass the picture's edge.

    Raises Untileable.
    """
    if isinstance(module, nn.Sequential):
        for layer in reversed(module):
            start, stop = input_span(layer, start, stop)
        return start, stop
    reach = _declared_reach(module)
    if reach is None and isinstance(module, nn.Conv2d):
        stride, padding = module.stride[0], _padding(module)
        return start * stride - padding, (stop - 1) * stride - padding + _taps(module)
    if reach is None and isinstance(module, nn.ConvTranspose2d):
        stride, padding = module.stride[0], _padding(module)
        return -((_taps(module) - 1 - padding - start) // stride), (stop - 1 + padding) // stride + 1
    if isinstance(module, _POINTWISE):
        return start, stop
    numerator, denominator = scale(module).as_integer_ratio()
    reach = reach or 0
    return start * denominator // numerator - reach, -(-stop * denominator // numerator) + reach


def can_be_tiled(module: nn.Module) -> bool:
    """Whether the geometry of every layer is known or declared."""
    try:
        input_span(module, 0, 1)
        scale(module)
    except Untileable:
        return False
    return True


def tiles(rows: int, columns: int, side: int, progress: Progress | None = None) -> Iterator[Tile]:
    """The squares of `side` cells that cover `(rows, columns)`; `progress` is told the fraction done after each."""
    starts = [(row, column) for row in range(0, rows, side) for column in range(0, columns, side)]
    for done, (row, column) in enumerate(starts, 1):
        yield slice(row, min(row + side, rows)), slice(column, min(column + side, columns))
        if progress is not None:
            progress(done / len(starts))


def inputs_of(module: nn.Module, span: slice, inputs: int, unit: int = 1) -> slice:
    """The inputs, of `inputs` along an axis, that decide the outputs `span`; whole groups of `unit` inputs."""
    start, stop = input_span(module, span.start, span.stop)
    return slice(max(0, start // unit * unit), min(inputs, -(-stop // unit) * unit))


def within(part: slice, whole: slice, numerator: int = 1, denominator: int = 1) -> slice:
    """Where the outputs `part` lie in what a network of scale numerator/denominator makes of the inputs `whole`."""
    start = whole.start * numerator // denominator
    return slice(part.start - start, part.stop - start)


def _declared_reach(module: nn.Module) -> int | None:
    # Not by getattr on the module, whose misses are slow.
    found = vars(module).get("reach", getattr(type(module), "reach", None))
    return None if found is None else int(found)


def _taps(module: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """Inputs from the first to the last that the kernel touches."""
    return module.dilation[0] * (module.kernel_size[0] - 1) + 1


def _padding(module: nn.Conv2d | nn.ConvTranspose2d) -> int:
    if isinstance(module.padding, str) or module.padding_mode not in ("zeros", "replicate"):
        raise Untileable(f"{type(module).__name__} with padding {module.padding!r}, {module.padding_mode}")
    return int(module.padding[0])


def _check_same(module: nn.Conv2d | nn.ConvTranspose2d, excess: int) -> None:
    square = all(
        len(set(values)) == 1 for values in (module.kernel_size, module.stride, module.padding, module.dilation)
    )
    if not (square and 1 <= excess <= module.stride[0]):
        raise Untileable(f"{type(module).__name__} whose output is not its input's side times or over the stride")
