"""Tiles of a grid, each with the stretch of inputs that decides it: how pictures of any size pass through in bounded memory."""

from collections.abc import Callable, Iterator, Sequence

from balle_li.codec.layers import Layer, input_span

Progress = Callable[[float], None]
Tile = tuple[slice, slice]


def tiles(rows: int, columns: int, side: int, progress: Progress | None = None) -> Iterator[Tile]:
    """The squares of `side` cells that cover `(rows, columns)`; `progress` hears the share done after each."""
    starts = [(row, column) for row in range(0, rows, side) for column in range(0, columns, side)]
    for done, (row, column) in enumerate(starts, 1):
        yield slice(row, min(row + side, rows)), slice(column, min(column + side, columns))
        if progress is not None:
            progress(done / len(starts))


def inputs_of(layers: Sequence[Layer], span: slice, inputs: int, unit: int = 1) -> slice:
    """The inputs, of `inputs` along an axis, that decide the outputs `span`; whole groups of `unit` inputs."""
    start, stop = input_span(layers, span.start, span.stop)
    return slice(max(0, start // unit * unit), min(inputs, -(-stop // unit) * unit))


def within(part: slice, whole: slice, numerator: int = 1, denominator: int = 1) -> slice:
    """Where the outputs `part` lie in what a network of scale numerator/denominator makes of the inputs `whole`."""
    start = whole.start * numerator // denominator
    return slice(part.start - start, part.stop - start)
