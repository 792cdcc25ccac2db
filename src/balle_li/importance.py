"""The importance r: how good each place of a picture is to be, as training draws it, users ask for it and streams carry it.

One unit of r weighs squared errors four times as much, and so about halves the quantization step. r = 0 is the lmbda
that a model was trained with. It is kept in whole levels, STEPS to a unit, one for every latent position.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import Box, clip_to_window, importance_map
from balle_li.errors import BalleLiError

STEPS = 8
LIMIT = 16  # levels: r lies in [-2, 2]
QUALITY_SPAN = 1.75  # r of quality 100, and -r of quality 0
BOX_GAIN = 1.0  # how far a box of weight 1 raises r

Levels = NDArray[np.int8]


def quality_to_r(quality: float) -> float:
    """r of a quality in [0, 100]; 50 gives 0. Raises BalleLiError outside that range."""
    if not 0 <= quality <= 100:
        raise BalleLiError(f"quality is {quality:g}, must be between 0 and 100")
    return (quality - 50) / 50 * QUALITY_SPAN


def r_to_quality(r: float) -> float:
    """The quality of which r is; below 0 or above 100 where no quality reaches it."""
    return 50 + 50 * r / QUALITY_SPAN


def to_levels(r: NDArray[np.floating[Any]] | float) -> Levels:
    """The nearest levels, clipped to ±LIMIT. Raises BalleLiError: r is not a number."""
    r = np.asarray(r, dtype=np.float64)
    if np.isnan(r).any():
        raise BalleLiError("the importance holds a value that is not a number")
    return np.rint(r * STEPS).clip(-LIMIT, LIMIT).astype(np.int8)


def box_importance(
    boxes: Iterable[Box], height: int, width: int, downsampling: int, weights: Mapping[str, float]
) -> NDArray[np.float32]:
    """How far boxes raise r at every latent, `(rows, columns)`, of a picture of `height` x `width` pixels.

    A box weighs what `weights` says of its class, 1 where it says nothing. A latent whose `downsampling`-sided square of
    pixels a box covers in part gets that part; where boxes overlap the larger value counts.
    """
    rows, columns = -(-height // downsampling), -(-width // downsampling)
    grid = clip_to_window(boxes, 0.0, 0.0, columns * downsampling / width, rows * downsampling / height)
    return importance_map(grid, rows, columns, weights)
