"""How figures of single pictures scatter: quartiles for box plots, and the ellipse of two figures' covariance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WHISKER = 1.5
"""Whiskers reach to the last value within so many interquartile ranges of the box (Tukey 1977)."""
ELLIPSE_POINTS = 48


@dataclass(frozen=True)
class Box:
    """A box of a box plot; `outliers` lie beyond the whiskers `low` and `high`."""

    low: float
    first: float
    median: float
    third: float
    high: float
    outliers: tuple[float, ...]


def box_of(values: Sequence[float]) -> Box:
    """The box of at least one value."""
    first, median, third = (float(value) for value in np.percentile(values, [25, 50, 75]))
    reach = WHISKER * (third - first)
    inside = [value for value in values if first - reach <= value <= third + reach]
    outliers = tuple(sorted(value for value in values if value not in inside))
    return Box(min(inside), first, median, third, max(inside), outliers)


def ellipse_of(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The outline of one standard deviation about the mean of points (x, y), a closed polygon in their own units.

    Empty for fewer than three points, which have no spread worth drawing.
    """
    if len(points) < 3:
        return []
    cloud = np.asarray(points, float)
    values, vectors = np.linalg.eigh(np.cov(cloud.T))
    axes = vectors * np.sqrt(values.clip(0))
    angles = np.linspace(0, 2 * math.pi, ELLIPSE_POINTS + 1)
    outline = cloud.mean(axis=0) + np.stack([np.cos(angles), np.sin(angles)], 1) @ axes.T
    return [(float(x), float(y)) for x, y in outline]
