"""The order in which the latents of `ConditionalLatents` are coded: from a coarse grid to the finest."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PLANES = 2
"""Channels that tell h_c which neighbours are decoded: one for the finest grid, one for all others."""
_CENTRES, _EDGES = ((1, 1),), ((0, 1), (1, 0))
_View = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Step:
    """Positions that are coded together, on the grid of every `stride`-th row and column.

    offsets: 0 or 1, the first row and column of each part of them; every second one follows. has_context: whether their
    neighbours are coded before: the four corners of a centre (1, 1), or the four sides of an edge (0, 1) or (1, 0).
    """

    stride: int
    offsets: tuple[tuple[int, int], ...]
    has_context: bool

    @property
    def grid(self) -> _View:
        """Indexes the step's grid in latents (C, rows, columns)."""
        every = slice(None, None, self.stride)
        return slice(None), every, every

    def parts(self, rows: int, columns: int) -> list[tuple[tuple[int, int], _View]]:
        """The offsets that lie in latents (C, rows, columns), each with what indexes its positions there."""
        found: list[tuple[tuple[int, int], _View]] = []
        for row, column in self.offsets:
            if row * self.stride < rows and column * self.stride < columns:
                down, across = (slice(first * self.stride, None, 2 * self.stride) for first in (row, column))
                found.append(((row, column), (slice(None), down, across)))
        return found

    def targets(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """Where this step codes, on its grid of latents (C, rows, columns)."""
        targets = np.zeros((-(-rows // self.stride), -(-columns // self.stride)), bool)
        for row, column in self.offsets:
            targets[row::2, column::2] = True
        return targets

    def planes(self, rows: int, columns: int) -> Tensor:
        """What is decoded before a step with context, `(PLANES, h, w)` of 0 and 1 on its grid."""
        planes = torch.zeros(PLANES, -(-rows // self.stride), -(-columns // self.stride))
        plane = planes[0 if self.stride == 1 else 1]
        plane[::2, ::2] = 1
        if self.offsets != _CENTRES:
            plane[1::2, 1::2] = 1
        return planes


def coding_order(levels: int) -> list[Step]:
    """The steps, which code every position once; levels is at least 1.

    Every 2^levels-th row and column comes first. Each level halves the distance: the centres of the decoded squares,
    then the edges between them. What is smooth costs bits on the coarse grid alone. The halves are those of He et al.
    (2021), "Checkerboard context model for efficient learned image compression".
    """
    order = [Step(2 ** (levels - 1), ((0, 0),), False)]
    for level in reversed(range(levels)):
        order += [Step(2**level, _CENTRES, True), Step(2**level, _EDGES, True)]
    return order
