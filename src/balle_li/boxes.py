"""Boxes around objects, and the weight map they make: the one place where coordinates are converted.

A box is normalised: `xmin, ymin, xmax, ymax` in [0, 1], x to the right, y down. FiftyOne's `[x, y, width, height]`,
the turns of an upright picture, the windows of patches and the pixels of a weight map start from here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from balle_li.errors import DatasetError

# EXIF orientation -> (mirrored left to right, then counter-clockwise quarter turns) from the stored pixels to the
# upright picture; EXIF 2.32, tag 0x0112.
EXIF_TURNS = {
    1: (False, 0),
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}

_RECORD: dict[str, Any] = {
    "label": str, "xmin": float, "ymin": float, "xmax": float, "ymax": float, "is_group_of": bool, "is_depiction": bool,
}  # fmt: skip


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture, its label, and how much it counts.

    xmin, ymin, xmax, ymax: in [0, 1], x to the right, y down. weight: 1 is usual, 0 makes the box count for nothing.
    is_group_of, is_depiction: Open Images' flags.

    Raises DatasetError unless 0 <= xmin < xmax <= 1, 0 <= ymin < ymax <= 1 and 0 <= weight < ∞; see `clipped` for boxes
    that stick out.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    label: str = ""
    weight: float = 1.0
    is_group_of: bool = False
    is_depiction: bool = False

    def __post_init__(self) -> None:
        # Comparisons with NaN are false, so this refuses it too.
        if not (0.0 <= self.xmin < self.xmax <= 1.0 and 0.0 <= self.ymin < self.ymax <= 1.0):
            corners = f"{self.xmin}, {self.ymin}, {self.xmax}, {self.ymax}"
            raise DatasetError(f"box {self.label!r} at {corners} is not inside its picture (0 <= min < max <= 1)")
        if not 0.0 <= self.weight < math.inf:
            raise DatasetError(f"box {self.label!r} has the weight {self.weight}, must be a number of at least 0")

    @classmethod
    def clipped(
        cls, xmin: float, ymin: float, xmax: float, ymax: float, label: str = "", weight: float = 1.0, **flags: bool
    ) -> "Box | None":
        """The part of the rectangle that lies inside the picture; None when nothing does, or a corner is not finite.

        flags: `is_group_of`, `is_depiction`.
        """
        if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
            return None
        xmin, ymin, xmax, ymax = (min(max(float(value), 0.0), 1.0) for value in (xmin, ymin, xmax, ymax))
        if xmin >= xmax or ymin >= ymax:
            return None
        return cls(xmin, ymin, xmax, ymax, label, weight, **flags)

    def to_fiftyone(self) -> list[float]:
        """FiftyOne's `[x, y, width, height]`."""
        return [self.xmin, self.ymin, self.xmax - self.xmin, self.ymax - self.ymin]

    @property
    def area(self) -> float:
        """Fraction of the picture, in (0, 1]."""
        return (self.xmax - self.xmin) * (self.ymax - self.ymin)

    def rotated(self, quarter_turns: int) -> "Box":
        """The same box after the picture was turned counter-clockwise by so many quarter turns."""
        box = self
        for _ in range(quarter_turns % 4):
            box = replace(box, xmin=box.ymin, ymin=1.0 - box.xmax, xmax=box.ymax, ymax=1.0 - box.xmin)
        return box

    def mirrored(self) -> "Box":
        """The same box after the picture was mirrored left to right."""
        return replace(self, xmin=1.0 - self.xmax, xmax=1.0 - self.xmin)


def upright_turns(exif_orientation: int, rotation: float) -> tuple[bool, int]:
    """How stored pixels become the upright picture: (mirror left to right, then counter-clockwise quarter turns).

    `rotation` is in degrees counter-clockwise, as in Open Images, whose column states the whole turn of the stored
    pixels: where it is not 0 it stands for the EXIF orientation, which describes the same turn once more.

    Raises DatasetError: `rotation` is not a multiple of 90.
    """
    if not math.isfinite(rotation) or rotation % 90 != 0:
        raise DatasetError(f"a rotation of {rotation} degrees is not a multiple of 90")
    turns = int(rotation // 90) % 4
    return (False, turns) if turns else EXIF_TURNS.get(exif_orientation, (False, 0))


def upright_boxes(boxes: Iterable[Box], exif_orientation: int, rotation: float = 0.0) -> list[Box]:
    """Boxes drawn on the stored pixels, in the coordinates of the upright picture that `read_picture` gives."""
    mirror, turns = upright_turns(exif_orientation, rotation)
    return [(box.mirrored() if mirror else box).rotated(turns) for box in boxes]


def clip_to_window(
    boxes: Iterable[Box], x0: float, y0: float, x1: float, y1: float, min_visible: float = 0.0
) -> list[Box]:
    """The boxes seen in the window [x0, x1] x [y0, y1] (normalised), in the window's own coordinates.

    A box is dropped when nothing of it is inside, or less than `min_visible` of what the window could show of it at
    most: its own area, or for a box larger than the window, the window's. The window may reach beyond the picture, as
    it does where a picture was padded.
    """
    width, height = x1 - x0, y1 - y0
    visible = []
    for box in boxes:
        inside_x = min(box.xmax, x1) - max(box.xmin, x0)
        inside_y = min(box.ymax, y1) - max(box.ymin, y0)
        if inside_x <= 0 or inside_y <= 0 or inside_x * inside_y < min_visible * min(box.area, width * height):
            continue
        corners = (box.xmin - x0) / width, (box.ymin - y0) / height, (box.xmax - x0) / width, (box.ymax - y0) / height
        clipped = Box.clipped(
            *corners, box.label, box.weight, is_group_of=box.is_group_of, is_depiction=box.is_depiction
        )
        if clipped is not None:
            visible.append(clipped)
    return visible


def weighted(boxes: Iterable[Box], class_weights: Mapping[str, float]) -> list[Box]:
    """The boxes with the weights of their classes; a class that `class_weights` does not name weighs 1."""
    return [replace(box, weight=float(class_weights.get(box.label, 1.0))) for box in boxes]


def box_weight_map(boxes: Iterable[Box], height: int, width: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Float32 `(height, width)`: how much of each pixel a box covers, times the weight of the box.

    Coverage is exact: a box over 30 % of a pixel's area gives it 0.3. Where boxes overlap the larger value counts.
    Without boxes the map is 0.
    """
    weights = np.zeros((height, width), np.float32)
    for box in boxes:
        rows, row_cover = _coverage(box.ymin, box.ymax, height)
        columns, column_cover = _coverage(box.xmin, box.xmax, width)
        window = weights[rows, columns]
        np.maximum(window, np.outer(row_cover, column_cover) * box.weight, out=window, casting="same_kind")
    return weights


def _coverage(low: float, high: float, cells: int) -> tuple[slice, "np.ndarray[Any, np.dtype[np.float64]]"]:
    """Which of `cells` equal cells of [0, 1] the interval [low, high] touches, and the fraction of each that it covers."""
    low, high = low * cells, high * cells
    first, last = math.floor(low), min(math.ceil(high), cells)
    edges = np.arange(first, last + 1, dtype=np.float64).clip(low, high)
    return slice(first, last), np.diff(edges)


def to_records(boxes: Iterable[Box]) -> list[dict[str, Any]]:
    """One mapping a box, with the fields of the manifest's `boxes` column. Weights are not kept: `class_weights` sets them."""
    return [{field: getattr(box, field) for field in _RECORD} for box in boxes]


def from_records(records: Iterable[Mapping[str, Any]] | None) -> list[Box]:
    """Boxes of a cell of the manifest's `boxes` column; None, as of a picture without labels, gives an empty list."""
    if records is None:
        return []
    return [Box(**{field: kind(record[field]) for field, kind in _RECORD.items()}) for record in records]
