"""The arguments of `balle-li compress` as people type them, and the encode options that they are for a picture."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import Box
from balle_li.codec.options import EncodeOptions
from balle_li.errors import BalleLiError, PictureError
from balle_li.image_io import read_picture

_SUFFIXES = {"": 1, "k": 1000, "m": 1_000_000}
_NEUTRAL, _GREY_LEVELS_PER_UNIT = 128, 64

Corners = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Arguments:
    """options: all but the boxes. boxes: (x0, y0, x1, y1, weight), in pixels, or as fractions where none exceeds 1."""

    options: EncodeOptions
    boxes: tuple[Corners, ...] = ()

    def of(self, width: int, height: int) -> EncodeOptions:
        """The options for an upright picture of that size in pixels. Raises BalleLiError: a box lies outside it."""
        return replace(self.options, boxes=[_box(corners, width, height) for corners in self.boxes])


def read_arguments(
    quality: float | None = None,
    target_bpp: float | None = None,
    target_size: str | None = None,
    boxes: Sequence[str] = (),
    quality_map: str | None = None,
    effort: int = 0,
    strip: bool = False,
) -> Arguments:
    """The arguments as they were typed. Raises BalleLiError: one of them cannot be read, or two contradict each other."""
    if sum(given is not None for given in (quality, target_bpp, target_size)) > 1:
        raise BalleLiError("give one of --quality, --target-bpp and --target-size")
    options = EncodeOptions(
        quality=quality,
        target_bpp=target_bpp,
        target_bytes=None if target_size is None else parse_size(target_size),
        quality_map=None if quality_map is None else read_quality_map(quality_map),
        effort=effort,
        strip=strip,
    )
    return Arguments(options, tuple(one for given in boxes for one in parse_boxes(given)))


def parse_size(text: str) -> int:
    """Bytes of `12000`, `12k`, `1.5M`. Raises BalleLiError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)b?", text.strip().lower())
    size = float(match[1]) * _SUFFIXES[match[2]] if match else math.inf  # so are numbers with too many digits
    if size == math.inf:
        raise BalleLiError(f"--target-size is {text!r}, must be a number of bytes such as 12000, 12k or 1.5M")
    return int(size)


def parse_boxes(text: str) -> list[Corners]:
    """`x0,y0,x1,y1[,weight]`, or a JSON file with a list of such lists or of objects with xmin, ymin, xmax, ymax [, weight].

    Raises BalleLiError.
    """
    if re.fullmatch(r"[-+\d.,eE\s]+", text):
        return [_corners(text.split(","), "--boxes")]
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise BalleLiError(f"--boxes: {text}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BalleLiError(f"--boxes: {text} is neither x0,y0,x1,y1 nor a JSON file") from None
    if not isinstance(found, list):
        raise BalleLiError(f"--boxes: {text} must hold a list of boxes")
    return [_corners(one, f"--boxes: {text}") for one in found]


def read_quality_map(path: str) -> NDArray[np.float32]:
    """A grey picture as an offset of r: 128 changes nothing, 64 grey levels more or less are one unit. Raises BalleLiError."""
    try:
        grey = np.asarray(read_picture(path).convert("L"), np.float32)
    except PictureError as error:
        raise BalleLiError(f"--quality-map: {error}") from None
    return (grey - _NEUTRAL) / _GREY_LEVELS_PER_UNIT


def _corners(given: Any, where: str) -> Corners:
    if isinstance(given, Mapping):
        given = [given.get(side) for side in ("xmin", "ymin", "xmax", "ymax")] + [given.get("weight", 1.0)]
    try:
        numbers = [float(number) for number in given]
        x0, y0, x1, y1, weight = numbers if len(numbers) == 5 else [*numbers, 1.0]
    except (TypeError, ValueError, OverflowError):
        raise BalleLiError(f"{where}: {given} is not x0,y0,x1,y1[,weight]") from None
    if not (np.isfinite(numbers).all() and x0 < x1 and y0 < y1 and weight >= 0):
        raise BalleLiError(f"{where}: {given} must have x0 < x1, y0 < y1 and a weight of at least 0")
    return x0, y0, x1, y1, weight


def _box(corners: Corners, width: int, height: int) -> Box:
    x0, y0, x1, y1, weight = corners
    across, down = (1, 1) if max(corners[:4]) <= 1 else (width, height)
    box = Box.clipped(x0 / across, y0 / down, x1 / across, y1 / down, weight=weight)
    if box is None:
        raise BalleLiError(f"the box {x0:g},{y0:g},{x1:g},{y1:g} lies outside the picture of {width}x{height}")
    return box
