"""Rate–distortion curves: measurements averaged over a set of pictures, and what lies between the points."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np

from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.metrics import ms_ssim_to_db

Metric = Literal["psnr", "ms_ssim", "ms_ssim_db", "psnr_inside", "psnr_outside"]


@dataclass(frozen=True)
class RdPoint:
    """A codec at one setting, the mean over a set of pictures; a quality is None where no picture has it.

    `ms_ssim_db` is the mean MS-SSIM in dB, not the mean of the dB.
    """

    setting: str
    bpp: float
    psnr: float
    ms_ssim: float | None
    ms_ssim_db: float | None
    psnr_inside: float | None
    psnr_outside: float | None
    compression_ratio: float


@dataclass(frozen=True)
class RdCurve:
    """A codec's points by rising rate; a model of one rate is a curve of one point."""

    codec: str
    points: tuple[RdPoint, ...]

    def values(self, metric: Metric) -> list[tuple[float, float]]:
        """(bpp, quality) of the points that have the metric."""
        pairs = [(point.bpp, getattr(point, metric)) for point in self.points]
        return [(bpp, quality) for bpp, quality in pairs if quality is not None]

    def quality_at(self, bpp: float, metric: Metric) -> float | None:
        """The quality at a rate, by straight lines over log(bpp); None outside the curve."""
        values = self.values(metric)
        return _interpolate(math.log(bpp), [(math.log(rate), quality) for rate, quality in values])

    def bpp_at(self, quality: float, metric: Metric) -> float | None:
        """The rate that a quality costs; None outside the curve."""
        values = self.values(metric)
        log_bpp = _interpolate(quality, [(value, math.log(bpp)) for bpp, value in values])
        return None if log_bpp is None else math.exp(log_bpp)

    def records(self) -> list[dict[str, Any]]:
        """One mapping a point, for DVC's plots and other readers of JSON."""
        return [{"codec": self.codec, **asdict(point)} for point in self.points]


def mean_curve(codec: str, measurements: Iterable[Measurement]) -> RdCurve:
    """The curve of `codec`: its measurements averaged by setting, one weight a picture."""
    by_setting: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        if measurement.codec == codec:
            by_setting.setdefault(measurement.setting, []).append(measurement)
    points = [_mean_point(setting, group) for setting, group in by_setting.items()]
    return RdCurve(codec, tuple(sorted(points, key=lambda point: point.bpp)))


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there; None when none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _mean_point(setting: str, group: Sequence[Measurement]) -> RdPoint:
    ms_ssim = mean_of(m.quality.ms_ssim for m in group)
    return RdPoint(
        setting=setting,
        bpp=fmean(m.bpp for m in group),
        psnr=fmean(m.quality.psnr for m in group),
        ms_ssim=ms_ssim,
        ms_ssim_db=None if ms_ssim is None else ms_ssim_to_db(ms_ssim),
        psnr_inside=mean_of(m.quality.psnr_inside for m in group),
        psnr_outside=mean_of(m.quality.psnr_outside for m in group),
        compression_ratio=fmean(m.compression_ratio for m in group),
    )


def _interpolate(at: float, pairs: list[tuple[float, float]]) -> float | None:
    pairs = sorted(pairs)
    if not pairs or not pairs[0][0] <= at <= pairs[-1][0]:
        return None
    xs, ys = zip(*pairs, strict=True)
    return float(np.interp(at, xs, ys))
