"""From single measurements to `metrics.json`: means, the comparison with JPEG, and the verdict in words."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from balle_li.evaluation.bd_rate import bd_rate
from balle_li.evaluation.curves import RdCurve, RdPoint, mean_curve, mean_of
from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.model_under_test import PictureResult

NAMES_IN_VERDICT = 8


@dataclass(frozen=True)
class JpegComparison:
    """The model's mean over the pictures beside JPEG's mean curve, and beside each picture's own curve.

    `gains` holds (picture, model minus JPEG at the picture's own rate) per metric, for the pictures whose rate lies on
    their JPEG curve, the worst first; PSNR in dB, MS-SSIM as it is.
    """

    model: RdPoint
    jpeg: RdCurve
    gains: dict[Literal["psnr", "ms_ssim"], list[tuple[str, float]]]

    @classmethod
    def of(cls, model: Sequence[Measurement], jpeg: Sequence[Measurement]) -> "JpegComparison":
        gains: dict[Literal["psnr", "ms_ssim"], list[tuple[str, float]]] = {"psnr": [], "ms_ssim": []}
        for own in model:
            curve = mean_curve("jpeg", (other for other in jpeg if other.image_id == own.image_id))
            for metric, known in gains.items():
                quality, beside = getattr(own.quality, metric), curve.quality_at(own.bpp, metric)
                if quality is not None and beside is not None:
                    known.append((own.image_id, quality - beside))
        for known in gains.values():
            known.sort(key=lambda pair: pair[1])
        return cls(mean_curve(model[0].codec, model).points[0], mean_curve("jpeg", jpeg), gains)

    def record(self) -> dict[str, Any]:
        """The section `jpeg` of metrics.json. `bits_saved` is the model's saving in per cent of JPEG's bits."""
        metrics: tuple[Literal["psnr", "ms_ssim", "ms_ssim_db", "psnr_inside", "psnr_outside"], ...]
        metrics = ("psnr", "ms_ssim", "ms_ssim_db", "psnr_inside", "psnr_outside")
        beside = {metric: self.jpeg.quality_at(self.model.bpp, metric) for metric in metrics}
        return {
            "at_equal_bpp": {"bpp": self.model.bpp, **beside},
            "at_equal_psnr": self._at_equal("psnr"),
            "at_equal_ms_ssim": self._at_equal("ms_ssim"),
            "pictures_where_jpeg_is_better": {
                metric: sum(gain < 0 for _, gain in known) for metric, known in self.gains.items()
            },
            "verdict": self.verdict(),
        }

    def verdict(self) -> list[str]:
        """Sentences that say who is better, by how much, and on which pictures JPEG is."""
        return [*self._of_metric("psnr"), *self._of_metric("ms_ssim")]

    def _at_equal(self, metric: Literal["psnr", "ms_ssim"]) -> dict[str, float | None]:
        quality = getattr(self.model, metric)
        bpp = None if quality is None else self.jpeg.bpp_at(quality, metric)
        return {"bpp": bpp, "bits_saved": None if bpp is None else 100 * (1 - self.model.bpp / bpp)}

    def _of_metric(self, metric: Literal["psnr", "ms_ssim"]) -> list[str]:
        title, show = ("PSNR", "{:.2f} dB") if metric == "psnr" else ("MS-SSIM", "{:.4f}")
        own, rate = getattr(self.model, metric), f"{self.model.bpp:.3f} bpp"
        if own is None:
            return [f"{title} is not defined for pictures this small."]
        beside = self.jpeg.quality_at(self.model.bpp, metric)
        if beside is None:
            first, last = self.jpeg.points[0].bpp, self.jpeg.points[-1].bpp
            return [f"{title}: JPEG was measured from {first:.3f} to {last:.3f} bpp and the model needs {rate}."]
        better = "the model" if own >= beside else "JPEG"
        sentence = f"{title} at {rate}: model {show.format(own)}, JPEG {show.format(beside)}; {better} is better"
        saved = self._at_equal(metric)["bits_saved"]
        if saved is not None:
            sentence += (
                f" (for equal {title} the model needs {abs(saved):.0f} % {'fewer' if saved >= 0 else 'more'} bits)"
            )
        return [f"{sentence}.", self._where(metric, title)]

    def _where(self, metric: Literal["psnr", "ms_ssim"], title: str) -> str:
        known = self.gains[metric]
        worse = [name for name, gain in known if gain < 0]
        pictures = f"{len(known)} picture{'s' if len(known) != 1 else ''} whose rate JPEG reaches"
        if not worse:
            return f"By {title} JPEG is better on none of {pictures}."
        names = ", ".join(worse[:NAMES_IN_VERDICT]) + (" and others" if len(worse) > NAMES_IN_VERDICT else "")
        return f"By {title} JPEG is better on {len(worse)} of {pictures}: {names}."


def summarise(
    model: Sequence[PictureResult], jpeg: Sequence[Measurement], lmbda: float, test_set: str
) -> dict[str, Any]:
    """The whole of `metrics.json`. Figures are means over the pictures that have them, None where none has.

    Lists are for readers of the file; DVC's tables leave them out. rd_cost is J = lmbda·MSE + bpp with the squared error
    on the 0–255 scale. Models of variable rate have `bd_rate`, against JPEG, and, where pictures have boxes,
    `with_boxes`; the other figures are theirs at the headline's quality.
    """
    headline = [result.headline for result in model]
    point = mean_curve(headline[0].codec, headline).points[0]
    comparison = JpegComparison.of(headline, jpeg)
    metrics = {
        "model": {
            "bpp": point.bpp,
            "psnr": point.psnr,
            "ms_ssim": point.ms_ssim,
            "ms_ssim_db": point.ms_ssim_db,
            "psnr_inside": point.psnr_inside,
            "psnr_outside": point.psnr_outside,
            "compression_ratio": point.compression_ratio,
            "encode_ms": 1000 * fmean(m.encode_seconds for m in headline),
            "decode_ms": 1000 * fmean(m.decode_seconds for m in headline),
            "rd_cost": fmean(lmbda * m.quality.mse + m.bpp for m in headline),
        },
        "jpeg": comparison.record(),
        "per_class": _per_class(headline, jpeg),
        "counts": {
            "pictures": len(headline),
            "pictures_with_boxes": sum(m.quality.psnr_inside is not None for m in headline),
            "pictures_without_ms_ssim": sum(m.quality.ms_ssim is None for m in headline),
            "classes": len({label for m in headline for label in m.quality.psnr_by_class}),
        },
        "test_set": test_set,
    }
    curve = model_curve(model)
    if len(curve.points) > 1:
        metrics["bd_rate"] = _bd_rates(comparison.jpeg, curve)
    with_boxes = [(result.headline, result.with_boxes) for result in model if result.with_boxes is not None]
    if with_boxes:
        metrics["with_boxes"] = _with_boxes(with_boxes)
    return metrics


def model_curve(model: Sequence[PictureResult]) -> RdCurve:
    """The model's mean curve over the pictures; one point for a model of one rate."""
    return mean_curve(model[0].headline.codec, [measurement for result in model for measurement in result.curve])


def _bd_rates(anchor: RdCurve, curve: RdCurve) -> dict[str, Any]:
    found = {
        "psnr": bd_rate(anchor.values("psnr"), curve.values("psnr")),
        "ms_ssim": bd_rate(anchor.values("ms_ssim_db"), curve.values("ms_ssim_db")),
    }
    return {metric: asdict(result) for metric, result in found.items()}


def _with_boxes(pairs: Sequence[tuple[Measurement, Measurement]]) -> dict[str, Any]:
    """What it brings to give the encoder the boxes, at equal size: means over the pictures that have boxes, in dB."""

    def gain(metric: str) -> float | None:
        values = [(getattr(after.quality, metric), getattr(before.quality, metric)) for before, after in pairs]
        return mean_of(after - before for after, before in values if after is not None and before is not None)

    outside = gain("psnr_outside")
    return {
        "pictures": len(pairs),
        "gain_inside": gain("psnr_inside"),
        "loss_outside": None if outside is None else -outside,
        "bytes_ratio": fmean(after.stream_bytes / before.stream_bytes for before, after in pairs),
    }


def _per_class(model: Sequence[Measurement], jpeg: Sequence[Measurement]) -> list[dict[str, Any]]:
    """PSNR inside the boxes of each class, of the model and of JPEG at each picture's own rate."""
    labels = sorted({label for m in model for label in m.quality.psnr_by_class})
    records = []
    for label in labels:
        having = [m for m in model if label in m.quality.psnr_by_class]
        beside = [_class_psnr_at(m.bpp, label, (o for o in jpeg if o.image_id == m.image_id)) for m in having]
        records.append(
            {
                "label": label,
                "pictures": len(having),
                "psnr": fmean(m.quality.psnr_by_class[label] for m in having),
                "jpeg_psnr_at_equal_bpp": mean_of(beside) if None not in beside else None,
            }
        )
    return records


def _class_psnr_at(bpp: float, label: str, jpeg: Iterable[Measurement]) -> float | None:
    points = [
        RdPoint(m.setting, m.bpp, m.quality.psnr_by_class[label], None, None, None, None, m.compression_ratio)
        for m in jpeg
    ]
    return RdCurve("jpeg", tuple(points)).quality_at(bpp, "psnr")
