"""What a user asks of a stream: a quality, regions that count more, or a size."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from balle_li.boxes import Box
from balle_li.codec.effort import MAX_EFFORT
from balle_li.errors import BalleLiError
from balle_li.importance import BOX_GAIN, LIMIT, STEPS, Levels, box_importance, to_levels


@dataclass(frozen=True)
class Wish:
    """The arguments of `Codec.compress` of these names, as they were given."""

    quality: float | None
    boxes: tuple[Box, ...]
    class_weights: Mapping[str, float]
    importance: NDArray[np.floating[Any]] | None
    target_bytes: int | None
    effort: int = 0

    def check(self, variable_rate: bool, model: str) -> None:
        """Raise BalleLiError where the model cannot do what is asked, or the parts contradict each other."""
        given = {"a quality": self.quality, "a size": self.target_bytes, "an importance": self.importance}
        asked = [name for name, value in given.items() if value is not None] + ["boxes"] * bool(self.boxes)
        if asked and not variable_rate:
            raise BalleLiError(f"{model} has one rate and cannot be given {asked[0]}; use a balle-li-roi model")
        if self.quality is not None and self.target_bytes is not None:
            raise BalleLiError("give a quality or a size, not both")
        if not 0 <= self.effort <= MAX_EFFORT:
            raise BalleLiError(f"effort is {self.effort}, must be between 0 and {MAX_EFFORT}")
        if self.effort and self.target_bytes is not None:
            raise BalleLiError("effort cannot be had with a size: it makes streams smaller, so give a quality")
        if self.target_bytes is not None and self.target_bytes < 1:
            raise BalleLiError(f"the size is {self.target_bytes} bytes, must be at least 1")
        if self.importance is not None and (self.importance.ndim != 2 or not self.importance.size):
            raise BalleLiError(f"the importance has the shape {self.importance.shape}, must be (height, width)")

    def change(self, height: int, width: int, downsampling: int) -> NDArray[np.float32]:
        """By how much r differs from that of the quality, at every latent of a picture of `height` x `width` pixels."""
        rows, columns = -(-height // downsampling), -(-width // downsampling)
        change = np.zeros((rows, columns), np.float32)
        if self.boxes:
            change += BOX_GAIN * box_importance(self.boxes, height, width, downsampling, self.class_weights)
        if self.importance is not None:
            if not np.isfinite(self.importance).all():
                raise BalleLiError("the importance holds a value that is not a finite number")
            # Latents past the picture's edge take part in none of its pixels' importance.
            picture = Image.fromarray(self.importance.astype(np.float32))
            part = (0.0, 0.0, *picture.size)
            change += np.asarray(picture.resize((columns, rows), Image.Resampling.BOX, part))
        return change


def longest_within(size: int, change: NDArray[np.float32], stream: Callable[[Levels], bytes]) -> bytes:
    """The best stream of at most `size` bytes.

    Finds the highest even level, then how many rows of latents, from the top, take one level more: a difference of an
    eighth of r that no eye sees. Where the regions alone are too long, they keep what fits of their difference.
    Raises BalleLiError where even the lowest level everywhere is too long.
    """
    rows = len(change)
    lowest = -LIMIT - max(0, math.ceil(change.max() * STEPS))
    highest = LIMIT - min(0, math.floor(change.min() * STEPS))

    def levels(step: int) -> Levels:
        level, raised = divmod(step, rows)
        even = np.full(change.shape, lowest + level, np.float32)
        even[:raised] += 1
        return to_levels(change + even / STEPS)

    # Steps rise row by row, so both searches are one.
    low, high = 0, (highest - lowest) * rows
    best = stream(levels(low))
    if len(best) > size:
        raise BalleLiError(f"the picture takes at least {len(best)} bytes with this model; {size} are too few")
    while low < high:
        middle = -(-(low + high) // 2)
        candidate = stream(levels(middle))
        if len(candidate) <= size:
            low, best = middle, candidate
        else:
            high = middle - 1
    return best
