"""Bjøntegaard delta rate: how many per cent more or fewer bits a codec needs than another for the same quality."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEAST_OVERLAP = 0.5
"""Below this `overlap` the figure says little."""


@dataclass(frozen=True)
class BdRate:
    """`percent` is negative where the tested codec saves bits; None when it cannot be computed, for the stated reason.

    `overlap` is how much of the shorter curve's range of quality the other covers too, in [0, 1].
    """

    percent: float | None
    overlap: float
    warning: str | None


def bd_rate(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    method: Literal["pchip", "akima"] = "pchip",
) -> BdRate:
    """BD-rate of `test` against `anchor`, both as points (bpp, quality in dB), in any order.

    Interpolates the logarithm of the rate over the quality, as Bjøntegaard does (VCEG-M33, 2001), piecewise.
    """
    anchor, test = _monotonic(anchor), _monotonic(test)
    if min(len(anchor), len(test)) < 2:
        return BdRate(None, 0.0, "a curve needs two points of different quality")
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    shorter = min(anchor[-1][1] - anchor[0][1], test[-1][1] - test[0][1])
    overlap = max(0.0, high - low) / shorter
    if overlap == 0:
        return BdRate(None, 0.0, f"the curves share no quality: {_range(anchor)} and {_range(test)}")
    import bjontegaard

    rates = [bpp for bpp, _ in anchor], [quality for _, quality in anchor]
    tested = [bpp for bpp, _ in test], [quality for _, quality in test]
    percent = bjontegaard.bd_rate(*rates, *tested, method=method, require_matching_points=False, min_overlap=0)
    warning = None
    if overlap < LEAST_OVERLAP:
        ranges = f"{_range(anchor)} and {_range(test)}"
        warning = f"the curves share only {overlap:.0%} of the shorter one's range of quality: {ranges}"
    return BdRate(float(percent), overlap, warning)


def _monotonic(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """By rising rate, without the points that cost more than another and are no better."""
    kept: list[tuple[float, float]] = []
    for bpp, quality in sorted(points):
        if bpp > 0 and (not kept or quality > kept[-1][1]):
            kept.append((bpp, quality))
    return kept


def _range(points: list[tuple[float, float]]) -> str:
    return f"{points[0][1]:.2f}–{points[-1][1]:.2f} dB"
