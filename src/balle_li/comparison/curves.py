"""Rate–distortion curves: measurements averaged over a set of pictures, what lies between the points, and BD-rates."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from balle_li.evaluation.metrics import MetricFacts, to_db

if TYPE_CHECKING:
    import pandas as pd

LEAST_OVERLAP = 0.5
"""Below this `overlap` a BD-rate says little."""

_TEXT = ("codec", "run")

Points = Sequence[tuple[float, float]]
"""(bpp, quality) of points, in any order."""


@dataclass(frozen=True)
class RdCurve:
    """A codec's points by rising rate; a model of one rate is a curve of one point.

    points: a table with the columns `setting`, `bpp`, `compression_ratio` and those of the metrics, means over a set of
    pictures. NaN stands where no picture has a figure. A column in dB is that of the mean, not the mean of the dB.
    """

    codec: str
    points: "pd.DataFrame"

    @classmethod
    def of(cls, codec: str, records: Iterable[Mapping[str, Any]]) -> "RdCurve":
        """From mappings, one a point, as `records` gives them."""
        import pandas as pd

        points = pd.DataFrame(
            [{name: value for name, value in record.items() if name not in _TEXT} for record in records]
        )
        numbers = points.columns.difference(["setting"])
        return cls(codec, points.astype(dict.fromkeys(numbers, float)).sort_values("bpp", ignore_index=True))

    def values(self, column: str) -> list[tuple[float, float]]:
        """(bpp, quality) of the points that have a value in the column."""
        if column not in self.points:
            return []
        pairs = self.points[["bpp", column]].dropna()
        return list(pairs.itertuples(index=False, name=None))

    def quality_at(self, bpp: float, column: str) -> float | None:
        """The quality at a rate, by straight lines over log(bpp); None outside the curve."""
        return _interpolated(math.log(bpp), [(math.log(rate), quality) for rate, quality in self.values(column)])

    def bpp_at(self, quality: float, column: str) -> float | None:
        """The rate that a quality costs; None outside the curve."""
        log_bpp = _interpolated(quality, [(value, math.log(bpp)) for bpp, value in self.values(column)])
        return None if log_bpp is None else math.exp(log_bpp)

    def records(self) -> list[dict[str, Any]]:
        """One mapping a point, for readers of JSON; None stands for NaN."""
        found = self.points.astype(object).where(self.points.notna(), None).to_dict("records")
        return [{"codec": self.codec, **{str(name): value for name, value in record.items()}} for record in found]


def mean_curves(frame: "pd.DataFrame", metrics: Iterable[MetricFacts]) -> dict[str, RdCurve]:
    """The curves of a table of measurements by codec: averaged by setting, one weight a picture."""
    means = (
        means_of(frame, metrics, ["codec", "setting"]).reset_index(level="setting").sort_values("bpp", kind="stable")
    )
    found = {str(codec): own.reset_index(drop=True) for codec, own in means.groupby(level="codec", sort=False)}
    return {codec: RdCurve(codec, found[codec]) for codec in dict.fromkeys(frame["codec"])}


def means_of(frame: "pd.DataFrame", metrics: Iterable[MetricFacts], by: list[str]) -> "pd.DataFrame":
    """Means of bpp, compression ratio and every column of the metrics, over the rows that have a figure, by `by`."""
    chosen = list(metrics)
    columns = [column for facts in chosen for column in facts.columns]
    means = frame.groupby(by, sort=False)[["bpp", *columns, "compression_ratio"]].mean()
    for facts in chosen:
        if facts.decibels:
            means[facts.curve] = [
                _finite(to_db(value)) if math.isfinite(value) else math.nan for value in means[facts.name]
            ]
    return means


@dataclass(frozen=True)
class BdRate:
    """`percent` is negative where the tested codec saves bits; None when it cannot be computed, for the stated reason.

    `overlap` is how much of the shorter curve's range of quality the other covers too, in [0, 1].
    """

    percent: float | None
    overlap: float
    warning: str | None


def bd_rate(anchor: Points, test: Points, method: Literal["pchip", "akima"] = "pchip", unit: str = "dB") -> BdRate:
    """Bjøntegaard delta rate: how many per cent more or fewer bits `test` needs than `anchor` for the same quality.

    Interpolates the logarithm of the rate over the quality, as Bjøntegaard does (VCEG-M33, 2001), piecewise. More quality
    must be better. unit: of the quality, for the warning.
    """
    anchor, test = _monotonic(anchor), _monotonic(test)
    if min(len(anchor), len(test)) < 2:
        return BdRate(None, 0.0, "a curve needs two points of different quality")
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    shorter = min(anchor[-1][1] - anchor[0][1], test[-1][1] - test[0][1])
    overlap = max(0.0, high - low) / shorter
    ranges = " and ".join(f"{points[0][1]:.2f}–{points[-1][1]:.2f} {unit}".strip() for points in (anchor, test))
    if overlap == 0:
        return BdRate(None, 0.0, f"the curves share no quality: {ranges}")
    import bjontegaard

    rates = [bpp for bpp, _ in anchor], [quality for _, quality in anchor]
    tested = [bpp for bpp, _ in test], [quality for _, quality in test]
    percent = bjontegaard.bd_rate(*rates, *tested, method=method, require_matching_points=False, min_overlap=0)
    warning = None
    if overlap < LEAST_OVERLAP:
        warning = f"the curves share only {overlap:.0%} of the shorter one's range of quality: {ranges}"
    return BdRate(float(percent), overlap, warning)


def bd_rate_by(facts: MetricFacts, anchor: RdCurve, test: RdCurve) -> BdRate:
    """The BD-rate of curves by one metric. Raises nothing: `warning` says why there is none."""
    if not facts.rate_distortion:
        return BdRate(None, 0.0, f"{facts.title} has no BD-rate")
    sign = 1.0 if facts.higher_is_better else -1.0
    one, other = ([(bpp, sign * value) for bpp, value in curve.values(facts.curve)] for curve in (anchor, test))
    return bd_rate(one, other, unit=facts.curve_unit)


def _monotonic(points: Points) -> list[tuple[float, float]]:
    """By rising rate, without the points that cost more than another and are no better."""
    kept: list[tuple[float, float]] = []
    for bpp, quality in sorted(points):
        if bpp > 0 and (not kept or quality > kept[-1][1]):
            kept.append((bpp, quality))
    return kept


def _interpolated(at: float, pairs: list[tuple[float, float]]) -> float | None:
    pairs = sorted(pairs)
    if not pairs or not pairs[0][0] <= at <= pairs[-1][0]:
        return None
    xs, ys = zip(*pairs, strict=True)
    return float(np.interp(at, xs, ys))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
