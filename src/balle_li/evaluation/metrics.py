"""How good a decoded picture is: metrics by name, this package's own and those of other packages.

A metric is one class. What is known of it stands there alone: its title and unit, which way is better, how it is averaged,
whether boxes apply, the smallest picture. `evaluate.metrics` of params.yaml chooses which are measured; tables, curves,
MLflow, the comparison and the report show what was measured, from the facts that the evaluation keeps with its values.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import Box, box_weight_map, weighted
from balle_li.errors import ConfigError
from balle_li.registry import DECIBELS, METRICS, metric_named

INSIDE, OUTSIDE, BY_CLASS = "_inside", "_outside", "_by_class"
"""What the columns are called, beside that in DECIBELS, that a metric has next to the one of its own name."""
MS_SSIM_SHORTEST_SIDE = 161
"""Pixels of the shorter side that MS-SSIM needs: four halvings, then a window of 11."""

_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Pair:
    """A picture and what a codec made of it: uint8 RGB `(H, W, 3)`, upright and of one size.

    Raises ValueError: the sizes differ.
    """

    original: NDArray[np.uint8]
    decoded: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.original.shape != self.decoded.shape:
            raise ValueError(f"cannot compare pictures of {self.original.shape} and {self.decoded.shape}")

    @functools.cached_property
    def squared_error(self) -> NDArray[np.float32]:
        """The squared error of every pixel, mean over the channels, on the 0–255 scale: float32 `(H, W)`."""
        difference = self.original.astype(np.float32) - self.decoded.astype(np.float32)
        return np.asarray(np.mean(difference * difference, axis=2), dtype=np.float32)


@dataclass(frozen=True)
class MetricFacts:
    """What is known of a metric. It is kept with the values, so that a reader needs no package that measures them.

    title, unit: as readers know it, "PSNR" in "dB". digits: decimals that are shown.
    shortest_side: pixels of the shorter side that it needs. Smaller pictures have no figure.
    regions: `measure` takes weights, so it is also measured inside and outside the labelled boxes and for each class.
    decibels: for similarities that end near 1. Curves and BD-rates then use −10·log10(1 − mean).
    rate_distortion: whether BD-rates by it mean something. name: its name in params.yaml; `of` fills it in.
    seconds_per_megapixel: about how long a slow metric takes on one core; 0 for others. The evaluation says so, and starts
    worker processes sooner.
    """

    title: str
    unit: str = ""
    digits: int = 4
    higher_is_better: bool = True
    shortest_side: int = 1
    regions: bool = False
    decibels: bool = False
    rate_distortion: bool = True
    name: str = ""
    seconds_per_megapixel: float = 0.0

    @classmethod
    def of(cls, name: str) -> "MetricFacts":
        """Of a registered metric. Raises ConfigError: the name is unknown, or its class is no metric."""
        metric = METRICS.get(name)
        valid = (
            isinstance(metric, type) and issubclass(metric, Metric) and isinstance(getattr(metric, "facts", None), cls)
        )
        if not valid:
            raise ConfigError(f"metric {name!r} is no subclass of balle_li.evaluation.metrics.Metric with facts")
        return replace(metric.facts, name=name)

    @property
    def curve(self) -> str:
        """The column over which curves are drawn and compared."""
        return self.name + DECIBELS if self.decibels else self.name

    @property
    def curve_unit(self) -> str:
        """The unit of `curve`."""
        return "dB" if self.decibels else self.unit

    @property
    def columns(self) -> list[str]:
        """The columns that hold one number a picture."""
        more = [self.name + part for part in (INSIDE, OUTSIDE)] if self.regions else []
        return [self.name, *([self.curve] if self.decibels else []), *more]

    def show(self, value: float | None) -> str:
        """The value in words, `31.25 dB`; a dash for none."""
        return "–" if value is None else f"{value:.{self.digits}f} {self.unit}".strip()


class Metric(ABC):
    """Base of all metrics: its facts, and how one picture is measured."""

    facts: ClassVar[MetricFacts]

    @abstractmethod
    def measure(self, pair: Pair, weights: NDArray[np.float32] | None = None) -> float:
        """The value of one picture. weights: how much each pixel counts, `(H, W)`; None: all alike.

        A value that is not finite, as the PSNR of an exact reproduction, takes no part in any mean.
        """


def register_metric(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: params.yaml may name the metric `name`."""
    return functools.partial(METRICS.add, name)


def all_facts(names: Iterable[str]) -> list[MetricFacts]:
    """The facts of registered metrics. Raises ConfigError as `MetricFacts.of`."""
    return [MetricFacts.of(name) for name in dict.fromkeys(names)]


def facts_in(evaluation: Mapping[str, Any]) -> list[MetricFacts]:
    """The facts of the metrics that were measured, as evaluation.json, metrics.json or a compared set of pictures keeps them."""
    return [MetricFacts(**facts) for facts in evaluation["metrics"]]


def facts_of_curve(name: str) -> MetricFacts:
    """The facts of the metric that is named, itself or by the column of its curve: `ms_ssim` or `ms_ssim_db`.

    Raises ConfigError: there is none, or BD-rates by it mean nothing.
    """
    facts = MetricFacts.of(metric_named(name))
    if name not in (facts.name, facts.curve) or not facts.rate_distortion:
        raise ConfigError(f"{name!r} is no metric by which rate–distortion curves can be compared")
    return facts


@register_metric("psnr")
class Psnr(Metric):
    """Peak signal-to-noise ratio of the mean squared error over pixels and channels; infinite where that is 0."""

    facts = MetricFacts("PSNR", "dB", digits=2, regions=True)

    def measure(self, pair: Pair, weights: NDArray[np.float32] | None = None) -> float:
        if weights is None:
            return psnr_of(float(pair.squared_error.mean(dtype=np.float64)))
        total = float(weights.sum(dtype=np.float64))
        return psnr_of(float((pair.squared_error * weights).sum(dtype=np.float64)) / total)


@register_metric("ms_ssim")
class MsSsim(Metric):
    """Multi-scale structural similarity (Wang et al. 2003) on the 0–255 scale, mean over the channels."""

    facts = MetricFacts("MS-SSIM", shortest_side=MS_SSIM_SHORTEST_SIDE, decibels=True)

    def measure(self, pair: Pair, weights: NDArray[np.float32] | None = None) -> float:
        import pytorch_msssim
        import torch

        def tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
            return torch.tensor(picture).permute(2, 0, 1)[None].float()

        with torch.inference_mode():
            return float(pytorch_msssim.ms_ssim(tensor(pair.original), tensor(pair.decoded), data_range=255))


@register_metric("ssimulacra2")
class Ssimulacra2(Metric):
    """SSIMULACRA 2.1 (Jon Sneyers, Cloudinary, 2023; github.com/cloudinary/ssimulacra2), for sRGB pictures of 8 bits.

    100 is exact, 90 visually lossless, 70 high quality, 30 low; the worst are negative. Its weights are for six scales, which
    the reference (libjxl) finds where the shorter side has at least 113 pixels. It takes 4 times as long as MS-SSIM, 40 times
    as long as PSNR, and 0.43 GB a megapixel.

    The arithmetic is that of the package `ssimulacra2`. Blur and scales are the reference's: the package's own blur treats the
    borders otherwise, which on photographs as JPEG gives 0.1 to 6 less, and below 225 pixels it lacks a scale. So measured,
    values that are published for libjxl come out within 0.1, or within 1.5 where flat pictures differ by few levels of grey and
    its single precision shows.
    """

    facts = MetricFacts("SSIMULACRA 2", digits=2, shortest_side=113, seconds_per_megapixel=1.0)
    taps: ClassVar = (0.00941437, 0.03601111, 0.10933537, 0.21292859, 0.26462112)
    """The response of libjxl's recursive Gaussian (Charalampidis 2016) of sigma 1.5, as far as its middle."""

    def measure(self, pair: Pair, weights: NDArray[np.float32] | None = None) -> float:
        from ssimulacra2 import ssimulacra2

        pictures = [ssimulacra2.srgb_to_linear(picture) for picture in (pair.original, pair.decoded)]
        found = ssimulacra2.Msssim()
        for number in range(ssimulacra2.kNumScales):
            if number > 0:
                pictures = [ssimulacra2.downsample(picture, 2, 2) for picture in pictures]
            x, y = (ssimulacra2.make_positive_xyb(ssimulacra2.linear_rgb_to_xyb(picture)) for picture in pictures)
            mean_x, mean_y = self._blurred(x), self._blurred(y)
            scale = ssimulacra2.MsssimScale()
            squares = (self._blurred(product) for product in (x * x, y * y, x * y))
            scale.avg_ssim = ssimulacra2.ssim_map(mean_x, mean_y, *squares)
            scale.avg_edgediff = ssimulacra2.edge_diff_map(x, mean_x, y, mean_y)
            found.scales.append(scale)
        return float(found.score())

    def _blurred(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of `(H, W, 3)`, with zeros around it."""
        from scipy.ndimage import convolve1d

        kernel = (*self.taps, *self.taps[-2::-1])
        down = convolve1d(values, kernel, axis=0, mode="constant")
        return np.asarray(convolve1d(down, kernel, axis=1, mode="constant"))


def psnr_of(mse: float) -> float:
    """PSNR in dB of a squared error on the 0–255 scale; infinite for an error of 0."""
    return math.inf if mse <= 0 else 10 * math.log10(255**2 / mse)


def to_db(similarity: float) -> float:
    """−10·log10(1 − similarity), which spreads out the values near 1; infinite at 1."""
    return math.inf if similarity >= 1 else -10 * math.log10(1 - similarity)


def ms_ssim(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float | None:
    """MS-SSIM of two uint8 RGB pictures `(H, W, 3)`; None when the shorter side has fewer than 161 pixels."""
    if min(original.shape[:2]) < MS_SSIM_SHORTEST_SIDE:
        return None
    return MsSsim().measure(Pair(original, decoded))


@dataclass(frozen=True)
class Regions:
    """The weights of a picture's pixels, float32 `(H, W)`: inside and outside its boxes, and in the boxes of a class.

    Inside counts every pixel by how much of it boxes cover, times its class's weight; outside by how much of it no box
    covers; a class by its own boxes' coverage. A region without a pixel is left out.
    """

    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    classes: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, boxes: Sequence[Box], class_weights: Mapping[str, float], height: int, width: int) -> "Regions":
        """class_weights: of the labels that do not count 1."""
        if not boxes:
            return cls()
        inside = box_weight_map(weighted(boxes, class_weights), height, width)
        outside = 1.0 - box_weight_map(weighted(boxes, {}), height, width)
        classes = {
            label: box_weight_map(weighted([box for box in boxes if box.label == label], {}), height, width)
            for label in sorted({box.label for box in boxes})
        }
        return cls(_seen({INSIDE: inside, OUTSIDE: outside}), _seen(classes))


def measure(pair: Pair, metrics: Iterable[str], regions: Regions) -> dict[str, Any]:
    """The values of one decoded picture by column: `mse` on the 0–255 scale, `exact`, and those of the metrics.

    None stands where there is no finite figure. `psnr_by_class` is a list of mappings with `label` and `value`.
    """
    mse = float(pair.squared_error.mean(dtype=np.float64))
    values: dict[str, Any] = {"mse": mse, "exact": mse == 0.0}
    for name in metrics:
        metric: Metric = METRICS.get(name)()
        defined = min(pair.original.shape[:2]) >= metric.facts.shortest_side
        value = _finite(metric.measure(pair)) if defined else None
        values[name] = value
        if metric.facts.decibels:
            values[name + DECIBELS] = None if value is None else _finite(to_db(value))
        if metric.facts.regions:
            for part in (INSIDE, OUTSIDE):
                weights = regions.weights.get(part) if defined else None
                values[name + part] = None if weights is None else _finite(metric.measure(pair, weights))
            by_class = {label: metric.measure(pair, own) for label, own in regions.classes.items()} if defined else {}
            values[name + BY_CLASS] = [
                {"label": label, "value": value} for label, value in by_class.items() if math.isfinite(value)
            ]
    return values


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _seen(regions: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {name: weights for name, weights in regions.items() if weights.sum(dtype=np.float64) > 0}
