"""The quality map r: how good each place of a picture is to be, as training draws it, users ask for it and streams carry it.

One unit of r weighs squared errors four times as much, and so about halves the quantization step. r = 0 is the lmbda
that a model was trained with. It is kept in whole levels, STEPS to a unit, one for every latent position.
"""

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import Box, box_weight_map, clip_to_window
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.files import inflate

STEPS = 8
LIMIT = 20  # levels: r lies in [-2.5, 2.5]
QUALITY_SPAN = 2.0  # r of quality 100, and -r of quality 0
BOX_GAIN = 1.0  # how far a box of weight 1 raises r
MAX_OFFSET = 4.0 * LIMIT / STEPS
"""Twice the span of r: boxes and quality maps are cut to it, for what is beyond changes hardly a level."""

Levels = NDArray[np.int8]


def quality_to_r(quality: float) -> float:
    """r of a quality in [0, 100]; 50 gives 0. Raises BalleLiError outside that range."""
    if not 0 <= quality <= 100:
        raise BalleLiError(f"quality is {quality:g}, must be between 0 and 100")
    return (quality - 50) / 50 * QUALITY_SPAN


def r_to_quality(r: float) -> float:
    """The quality whose r this is; below 0 or above 100 where no quality reaches it."""
    return 50 + 50 * r / QUALITY_SPAN


def to_levels(r: NDArray[np.floating[Any]] | float) -> Levels:
    """The nearest levels, clipped to ±LIMIT. Raises BalleLiError: r is not a number."""
    r = np.asarray(r, dtype=np.float64)
    if np.isnan(r).any():
        raise BalleLiError("the quality map holds a value that is not a number")
    return np.rint(r * STEPS).clip(-LIMIT, LIMIT).astype(np.int8)


def box_offset(boxes: Iterable[Box], height: int, width: int, downsampling: int) -> NDArray[np.float32]:
    """How far boxes raise r at every latent, `(rows, columns)`, of a picture of `height` x `width` pixels.

    A latent stands for a square of `downsampling` pixels a side, at the right and bottom edge for what the picture has of it.
    Where a box covers a part of that, the latent gets this part of the box's weight; where boxes overlap the larger value
    counts. No weight counts for more than MAX_OFFSET.
    """
    rows, columns = -(-height // downsampling), -(-width // downsampling)
    grid = clip_to_window(boxes, 0.0, 0.0, columns * downsampling / width, rows * downsampling / height)
    bounded = (replace(box, weight=min(box.weight, MAX_OFFSET / BOX_GAIN)) for box in grid)
    seen = np.outer(*(np.diff(_latent_edges(side, downsampling)) / downsampling for side in (height, width)))
    return np.float32(BOX_GAIN) * box_weight_map(bounded, rows, columns) / seen.astype(np.float32)


def stretched(values: NDArray[np.floating[Any]], height: int, width: int, downsampling: int) -> NDArray[np.float32]:
    """A map of any size, stretched over a picture of `height` x `width` pixels: its mean over every latent's square.

    Of the squares at the right and at the bottom only what lies in the picture counts.
    """
    for side in (height, width):  # each turn works along axis 0, and turns the map over
        values = _means(values, _latent_edges(side, downsampling) * len(values) / side).T
    return values.astype(np.float32)


def _latent_edges(side: int, downsampling: int) -> NDArray[np.int64]:
    """Where the squares of neighbouring latents meet, in pixels, from 0 to the picture's edge."""
    return np.append(np.arange(0, side, downsampling), side)


def _means(cells: NDArray[np.floating[Any]], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means along axis 0 of cells of length 1 over the intervals between `edges`, from 0 to their number."""
    at = np.minimum(edges.astype(np.int64), len(cells) - 1)
    whole = np.add.reduceat(cells, at, axis=0, dtype=np.float64)[:-1]
    whole[np.diff(at) == 0] = 0  # reduceat gives the cell itself where there is none between
    begun = (edges - at)[:, None] * cells[at]
    return (whole + np.diff(begun, axis=0)) / np.diff(edges)[:, None]


def pack_levels(levels: Levels) -> bytes:
    """`(rows, columns)` levels: one byte where all are alike, else each one's difference from the one above it, deflated."""
    if (levels == levels.flat[0]).all():
        return levels.flat[0].tobytes()
    return zlib.compress(np.diff(levels, axis=0, prepend=np.int8(0)).tobytes(), 9)


def unpack_levels(data: bytes, rows: int, columns: int) -> Levels:
    """What `pack_levels` packed. Raises BitstreamError: it is no map of that size, or a level is out of range."""
    if len(data) == 1:
        levels = np.full((rows, columns), np.frombuffer(data, np.int8)[0], np.int8)
    else:
        differences = np.frombuffer(inflate(data, rows * columns), np.int8)
        if differences.size != rows * columns:
            raise BitstreamError("the quality map in the stream has the wrong size; the stream is damaged")
        levels = differences.reshape(rows, columns).cumsum(axis=0, dtype=np.int8)
    if np.abs(levels.astype(np.int16)).max() > LIMIT:
        raise BitstreamError("the quality map in the stream is out of range; the stream is damaged")
    return levels
