"""Encode options: a quality, boxes and a quality map, a target size, an effort."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import Box
from balle_li.codec.effort import MAX_EFFORT
from balle_li.errors import BalleLiError
from balle_li.quality_map import LIMIT, MAX_OFFSET, STEPS, Levels, box_offset, quality_to_r, stretched, to_levels

DEFAULT_QUALITY = 50.0


@dataclass(frozen=True)
class EncodeOptions:
    """How a picture is to be compressed. All but `effort` and `strip` need a variable-rate model.

    quality: 0 to 100, by default 50, r = 0, the lmbda of training; from 0 to 100 the rate grows some sixteenfold.
    boxes: what counts more, in the upright picture, each by its weight.
    quality_map: float (h, w) of any size, stretched over the picture: an offset of r, added to that of quality and
        boxes; one unit weighs squared errors fourfold. The sum is kept within [−2.5, 2.5].
    target_bytes, target_bpp: the best quality whose stream is no longer than this, in place of `quality`.
    effort: 0 to 10: twenty times as many steps that adapt the latents to the picture, each some three times the work of
        encoding and decoding it, for some per cent of its bits; decoding takes no longer. Not with a target.
    strip: leave out ICC profile, EXIF, XMP and resolution.

    Raises BalleLiError: a value is out of range, or two contradict each other.
    """

    quality: float | None = None
    boxes: Sequence[Box] = ()
    quality_map: NDArray[np.floating[Any]] | None = None
    target_bytes: int | None = None
    target_bpp: float | None = None
    effort: int = 0
    strip: bool = False

    def __post_init__(self) -> None:
        goals = {"a quality": self.quality, "a size": self.target_bytes, "bits per pixel": self.target_bpp}
        given = [name for name, value in goals.items() if value is not None]
        if len(given) > 1:
            raise BalleLiError(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'}")
        if self.quality is not None:
            quality_to_r(self.quality)
        if self.target_bytes is not None and not 1 <= self.target_bytes < math.inf:  # so NaN is refused too
            raise BalleLiError(f"the size is {self.target_bytes} bytes, must be a number of at least 1")
        if self.target_bpp is not None and not 0 < self.target_bpp < math.inf:
            raise BalleLiError(f"the bits per pixel are {self.target_bpp:g}, must be positive")
        whole = isinstance(self.effort, int | np.integer) and not isinstance(self.effort, bool)
        if not (whole and 0 <= self.effort <= MAX_EFFORT):
            raise BalleLiError(f"effort is {self.effort!r}, must be a whole number between 0 and {MAX_EFFORT}")
        if self.effort and self.has_target:
            raise BalleLiError(
                "effort and a target size exclude each other: it makes streams smaller, so give a quality"
            )
        if self.quality_map is not None:
            if self.quality_map.ndim != 2 or not self.quality_map.size:
                raise BalleLiError(f"the quality map has the shape {self.quality_map.shape}, must be (height, width)")
            if not np.isfinite(self.quality_map).all():
                raise BalleLiError("the quality map holds a value that is not a finite number")

    @property
    def has_target(self) -> bool:
        """Whether a size is given in place of a quality."""
        return self.target_bytes is not None or self.target_bpp is not None

    def check_rate(self, model: str) -> None:
        """Raise BalleLiError where an option is given that needs a variable-rate model. model: the name of one of one rate."""
        choices = {"a quality": self.quality, "a quality map": self.quality_map, "boxes": self.boxes or None}
        given = [name for name, value in choices.items() if value is not None] + ["a target size"] * self.has_target
        if given:
            raise BalleLiError(f"{model} has one rate and cannot be given {given[0]}; use a variable-rate model")

    def encoded(self, height: int, width: int, downsampling: int, encode: Callable[[Levels], bytes]) -> bytes:
        """The stream of a picture of `height` x `width` pixels, which `encode` makes of a quality map.

        Raises BalleLiError: no stream can be as short as the target.
        """
        offset = self.offset(height, width, downsampling)
        if not self.has_target:
            quality = DEFAULT_QUALITY if self.quality is None else self.quality
            return encode(to_levels(quality_to_r(quality) + offset))
        size = self.target_bytes if self.target_bpp is None else self.target_bpp * width * height / 8
        assert size is not None
        return longest_within(int(min(size, sys.maxsize)), offset, encode)  # which no stream comes near

    def offset(self, height: int, width: int, downsampling: int) -> NDArray[np.float32]:
        """By how much r differs from that of the quality, at every latent of a picture of `height` x `width` pixels."""
        rows, columns = -(-height // downsampling), -(-width // downsampling)
        offset = np.zeros((rows, columns), np.float32)
        if self.boxes:
            offset += box_offset(self.boxes, height, width, downsampling)
        if self.quality_map is not None:
            offset += stretched(self.quality_map.clip(-MAX_OFFSET, MAX_OFFSET), height, width, downsampling)
        return offset


def longest_within(size: int, offset: NDArray[np.float32], encode: Callable[[Levels], bytes]) -> bytes:
    """The best stream of at most `size` bytes.

    Finds the highest even level, then how many rows of latents, from the top, take one level more: a difference of an
    eighth of r that no eye sees. Where the regions alone are too long, they keep what fits of their difference.
    Raises BalleLiError where even the lowest level everywhere is too long.
    """
    rows = len(offset)
    lowest = -LIMIT - max(0, math.ceil(offset.max() * STEPS))
    highest = LIMIT - min(0, math.floor(offset.min() * STEPS))

    def levels(level: int, raised: int) -> Levels:
        even = np.full(offset.shape, lowest + level, np.float32)
        even[:raised] += 1
        return to_levels(offset + even / STEPS)

    best = encode(levels(0, 0))
    if len(best) > size:
        raise BalleLiError(f"the picture takes at least {len(best)} bytes with this model; {size} are too few")

    def highest_within(most: int, levels_at: Callable[[int], Levels]) -> int:
        """The highest step up to `most` whose stream fits, which becomes the best; step 0 is known to fit."""
        nonlocal best
        low, high = 0, most
        while low < high:
            middle = -(-(low + high) // 2)
            candidate = encode(levels_at(middle))
            if len(candidate) <= size:
                low, best = middle, candidate
            else:
                high = middle - 1
        return low

    # First the levels alone: rows make the map uneven, which costs bytes, so higher levels may fit where rows do not.
    level = highest_within(highest - lowest, lambda level: levels(level, 0))
    if level < highest - lowest:
        highest_within(rows - 1, lambda raised: levels(level, raised))
    return best
