"""From the table of measurements to `metrics.json`: means, the comparison with JPEG, and the verdict in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from balle_li.comparison.curves import RdCurve, bd_rate_by, mean_curves, means_of
from balle_li.errors import BalleLiError
from balle_li.evaluation.measurements import (
    BASELINE,
    CLASSICAL,
    EVALUATION_FILE,
    HEADLINE,
    MEASUREMENTS_FILE,
    STREAMS,
    WITH_BOXES,
    gains,
    read_measurements,
)
from balle_li.evaluation.metrics import BY_CLASS, INSIDE, OUTSIDE, MetricFacts, facts_in
from balle_li.evaluation.published import kinds_differ
from balle_li.files import read_json, write_json
from balle_li.progress import RunLog

if TYPE_CHECKING:
    import pandas as pd

METRICS_FILE, CURVE_FILE = "metrics.json", "rd_curve.json"
BASELINES_FILE, CLASSICAL_FILE = "baselines.json", "classical.json"
"""Their points, next to those of the model in CURVE_FILE."""
SHORT_FILE = "figures.json"
"""The main metrics of the test split, for DVC's tables; metrics.json holds everything."""
COPIED = ("metrics", "test_set", "all_pictures", "known_as", "left_out", "skipped_files")
"""What of the evaluation stands in metrics.json as it is."""
NAMES_IN_VERDICT = 8

Data = dict[str, Any]


def write_summary(folder: Path, log: RunLog) -> None:
    """Write METRICS_FILE and the files of curves beside what `evaluate` left in `folder` and its sets, and SHORT_FILE.

    The values go to `log` at the step the model was trained to, the files as its artifacts. Raises BalleLiError: a file of
    the evaluation is missing or damaged.
    """
    sets = {path.name: _write(path) for path in sorted((folder / "sets").glob("*"))}
    metrics = _write(folder, sets)
    write_json(folder / SHORT_FILE, short_metrics(metrics))
    log.metrics(metrics["steps"], logged_metrics(metrics))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder).parent
        if STREAMS not in place.parts and path.name != SHORT_FILE:
            log.artifact(path, (Path("evaluation") / place).as_posix())


def _write(folder: Path, sets: Mapping[str, Data] | None = None) -> Data:
    """Summarise one set of pictures."""
    evaluation, frame = read_json(folder / EVALUATION_FILE), read_measurements(folder / MEASUREMENTS_FILE)
    try:
        curves = mean_curves(frame[frame["compared"]], facts_in(evaluation))
        metrics = summarise(frame, evaluation, curves)
    except (KeyError, TypeError) as error:
        raise BalleLiError(f"{folder} is of another version of the project ({error!r})") from None
    if sets is not None:
        metrics["sets"] = dict(sets)
    write_json(folder / CURVE_FILE, curves[evaluation["model"]["name"]].records())
    for kind, file in ((BASELINE, BASELINES_FILE), (CLASSICAL, CLASSICAL_FILE)):
        names = dict.fromkeys(frame.loc[frame["kind"] == kind, "codec"])
        found = [curves[name] for name in names if name in curves]
        write_json(folder / file, [record for curve in found for record in curve.records()])
    write_json(folder / METRICS_FILE, metrics)
    return metrics


def summarise(frame: "pd.DataFrame", evaluation: Mapping[str, Any], curves: Mapping[str, RdCurve]) -> Data:
    """The whole of `metrics.json`. Figures are means over the compared pictures that have them, None where none has.

    Lists are for readers of the file; DVC's tables leave them out. rd_cost is J = lmbda·MSE + bpp with the squared error on
    the 0–255 scale. Models of variable rate have `bd_rate`, against JPEG and, in `baselines`, against each of them, by
    metric, and, where pictures have boxes, `with_boxes`; the other values are theirs at the headline's quality.
    """
    metrics, model = facts_in(evaluation), evaluation["model"]
    compared = frame[frame["compared"]]
    headline = compared[compared["kind"] == HEADLINE].set_index("image_id")
    means = means_of(headline, metrics, ["codec"]).iloc[0]
    costs = {f"{name}_ms": 1000 * float(headline[f"{name}_seconds"].mean()) for name in ("encode", "decode")}
    comparison = JpegComparison(means.to_dict(), curves.get("jpeg"), gains(frame, metrics), metrics)
    found: Data = {
        "model": {name: _number(value) for name, value in means.items()}
        | costs
        | {"rd_cost": float((model["lmbda"] * headline["mse"] + headline["bpp"]).mean())},
        "jpeg": comparison.record() | {"verdict": [*comparison.verdict(), *_apart(evaluation)]},
        "per_class": [record for facts in metrics if facts.regions for record in _per_class(compared, facts)],
        "counts": {
            "pictures": len(headline),
            "pictures_with_boxes": int(headline.filter(like=INSIDE).notna().any(axis=1).sum()),
            **{f"pictures_without_{facts.name}": int(headline[facts.name].isna().sum()) for facts in metrics},
            "pictures_apart": int(frame.loc[~frame["compared"], "image_id"].nunique()),
            "exact": len(evaluation["exact"]),
        },
        "baselines": {
            name: against_baseline(name, facts, model["kind"], metrics, (curves[name], curves[model["name"]]))
            for name, facts in evaluation["baselines"].items()
            if name in curves
        },
        **{key: evaluation[key] for key in COPIED},
        "steps": model["steps"],
        "kind": model["kind"],
    }
    curve = curves[model["name"]]
    if len(curve.points) > 1 and "jpeg" in curves:
        found["bd_rate"] = bd_rates(metrics, curves["jpeg"], curve)
    boxes = _with_boxes(compared, headline, metrics)
    return found | ({"with_boxes": boxes} if boxes else {})


def bd_rates(metrics: Iterable[MetricFacts], anchor: RdCurve, test: RdCurve) -> dict[str, Data]:
    """The BD-rates of `test` against `anchor`, by the metrics for which one means something."""
    return {facts.name: asdict(bd_rate_by(facts, anchor, test)) for facts in metrics if facts.rate_distortion}


def verdict_in(metrics: Mapping[str, Any]) -> list[str]:
    """The sentences of metrics.json that say how the model does against JPEG and against each baseline."""
    return [*metrics["jpeg"]["verdict"], *(facts["verdict"] for facts in metrics["baselines"].values())]


def against_baseline(
    name: str, facts: Mapping[str, Any], kind: str, metrics: Sequence[MetricFacts], curves: tuple[RdCurve, RdCurve]
) -> Data:
    """What is known of a baseline, the BD-rates of the model, of that `kind`, against it, and a sentence of both.

    curves: the baseline's and the model's. Where one of them is a single point, the sentence compares the bits at its quality.
    """
    rates, single = bd_rates(metrics, *curves), min(len(curve.points) for curve in curves) == 1
    told = []
    for one in (one for one in metrics if one.name in rates):
        percent = _at_equal(one.name, *curves) if single else rates[one.name]["percent"]
        reason = "" if single else f" ({rates[one.name]['warning']})"
        told.append(f"none by {one.title}{reason}" if percent is None else f"{percent:+.1f} % by {one.title}")
    unlike = kinds_differ(kind, facts["kind"])
    what = "Bits at equal quality" if single else "BD-rate"
    verdict = f"{what} against {name} ({facts['setting']}): {', '.join(told)}{f'; {unlike}' if unlike else ''}."
    return {**facts, "bd_rate": rates, "verdict": verdict}


def _at_equal(column: str, anchor: RdCurve, test: RdCurve) -> float | None:
    """By how many per cent more bits `test` has than `anchor` at the quality of whichever is one point; None where the other
    does not reach it."""
    point, curve = (test, anchor) if len(test.points) == 1 else (anchor, test)
    bpp, quality = next(iter(point.values(column)), (math.nan, math.nan))
    other = curve.bpp_at(quality, column)
    if other is None:
        return None
    return 100 * (bpp / other - 1 if point is test else other / bpp - 1)


@dataclass(frozen=True)
class JpegComparison:
    """The model's means, JPEG's mean curve, and the `gains` of each picture over JPEG at its own rate."""

    model: Mapping[Any, Any]
    jpeg: RdCurve | None
    gains: "pd.DataFrame"
    metrics: Sequence[MetricFacts]

    def record(self) -> Data:
        """The section `jpeg` of metrics.json. `bits_saved` is the model's saving in per cent of JPEG's bits."""
        columns = [column for facts in self.metrics for column in facts.columns]
        within = self.gains[self.gains["within"]]
        return {
            "at_equal_bpp": {"bpp": float(self.model["bpp"]), **{column: self._jpeg_at(column) for column in columns}},
            **{f"at_equal_{facts.name}": self._at_equal(facts) for facts in self.metrics},
            "pictures_where_jpeg_is_better": {
                facts.name: int((within[facts.name] < 0).sum()) for facts in self.metrics
            },
        }

    def verdict(self) -> list[str]:
        """Sentences that say who is better, by how much, and on which pictures JPEG is."""
        return [sentence for facts in self.metrics for sentence in self._of(facts)]

    def _jpeg_at(self, column: str) -> float | None:
        return None if self.jpeg is None else self.jpeg.quality_at(float(self.model["bpp"]), column)

    def _at_equal(self, facts: MetricFacts) -> dict[str, float | None]:
        quality = _number(self.model[facts.name])
        bpp = None if quality is None or self.jpeg is None else self.jpeg.bpp_at(quality, facts.name)
        return {"bpp": bpp, "bits_saved": None if bpp is None else 100 * (1 - float(self.model["bpp"]) / bpp)}

    def _of(self, facts: MetricFacts) -> list[str]:
        own, rate = _number(self.model[facts.name]), f"{self.model['bpp']:.3f} bpp"
        if own is None:
            small = f": it needs {facts.shortest_side} pixels a side" if facts.shortest_side > 1 else ""
            return [f"{facts.title} is not defined for any of these pictures{small}."]
        if self.jpeg is None:
            return [f"{facts.title} at {rate}: model {facts.show(own)}; JPEG takes none of the pictures."]
        against = self._jpeg_at(facts.name)
        if against is None:
            first, last = self.jpeg.points["bpp"].iloc[[0, -1]]
            return [f"{facts.title}: JPEG was measured from {first:.3f} to {last:.3f} bpp and the model needs {rate}."]
        better = "the model" if own == against or (own > against) == facts.higher_is_better else "JPEG"
        sentence = f"{facts.title} at {rate}: model {facts.show(own)}, JPEG {facts.show(against)}; {better} is better"
        saved = self._at_equal(facts)["bits_saved"]
        if saved is not None:
            more = "fewer" if saved >= 0 else "more"
            sentence += f" (for equal {facts.title} the model needs {abs(saved):.0f} % {more} bits)"
        return [f"{sentence}.", self._where(facts)]

    def _where(self, facts: MetricFacts) -> str:
        known = self.gains.loc[self.gains["within"], facts.name].dropna().sort_values(kind="stable")
        worse = list(known.index[known < 0])
        pictures = f"{len(known)} picture{'s' if len(known) != 1 else ''} whose rate JPEG reaches"
        if not worse:
            return f"By {facts.title} JPEG is better on none of {pictures}."
        return f"By {facts.title} JPEG is better on {len(worse)} of {pictures}: {_named(worse)}."


def short_metrics(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """What fits on a screen, flat and rounded; DVC's tables leave out what is None.

    A model of one rate has the bits it saves at that rate; a model of several has BD-rates, which say it for all of them.
    """
    model, names = metrics["model"], [facts.name for facts in facts_in(metrics)]
    bd_rate = {name: found["percent"] for name, found in metrics.get("bd_rate", {}).items()}
    saved = {name: metrics["jpeg"][f"at_equal_{name}"]["bits_saved"] for name in names}
    found = {
        **{name: model[name] for name in ("bpp", *names, "rd_cost")},
        **{f"saved_{name}": saved[name] if bd_rate.get(name) is None else None for name in names},
        **{f"bd_{name}": bd_rate.get(name) for name in names},
        "in_boxes": metrics.get("with_boxes", {}).get("gain_inside"),
    }
    return {name: None if value is None else float(f"{value:.4g}") for name, value in found.items()}


def logged_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The values of metrics.json that a run keeps: the model's, and JPEG's at the same rate, under `test/`; those of
    extra sets under their names."""
    found = _logged(metrics, "test")
    for name, others in metrics.get("sets", {}).items():
        found |= _logged(others, name)
    return {name: float(value) for name, value in found.items() if value is not None}


def _logged(metrics: Mapping[str, Any], prefix: str) -> dict[str, float | None]:
    jpeg, boxes = metrics["jpeg"], metrics.get("with_boxes", {})
    names = [facts.name for facts in facts_in(metrics)]
    return {
        **{f"{prefix}/{name}": value for name, value in metrics["model"].items()},
        **{f"{prefix}/jpeg_{name}": value for name, value in jpeg["at_equal_bpp"].items() if name != "bpp"},
        **{f"{prefix}/bits_saved_{name}": jpeg[f"at_equal_{name}"]["bits_saved"] for name in names},
        **{f"{prefix}/bd_rate_{name}": found["percent"] for name, found in metrics.get("bd_rate", {}).items()},
        **{
            f"{prefix}/bd_rate_{name}_against_{baseline.replace('/', '_')}": found["percent"]
            for baseline, facts in metrics["baselines"].items()
            for name, found in facts["bd_rate"].items()
        },
        **{f"{prefix}/boxes_{name}": boxes[name] for name in ("gain_inside", "loss_outside") if name in boxes},
    }


def _apart(evaluation: Mapping[str, Any]) -> list[str]:
    """What the means leave out, in words."""
    sentences = []
    if evaluation["exact"]:
        count = len(evaluation["exact"])
        pictures = f"{count} picture{'s are' if count > 1 else ' is'}"
        sentences.append(
            f"{pictures} reproduced exactly by some codec and counted apart: {_named(evaluation['exact'])}."
        )
    for codec, found in evaluation["left_out"].items():
        who = "No codec is given" if codec == "unreadable" else f"{codec} cannot take"
        sentences.append(f"{who} {_named(found['pictures'])} ({found['reason']}); no mean uses it.")
    return sentences


def _named(image_ids: Sequence[str]) -> str:
    return ", ".join(image_ids[:NAMES_IN_VERDICT]) + (" and others" if len(image_ids) > NAMES_IN_VERDICT else "")


def _with_boxes(compared: "pd.DataFrame", headline: "pd.DataFrame", metrics: Sequence[MetricFacts]) -> Data | None:
    """What it brings to give the encoder the boxes, at equal size: means over the pictures that have boxes.

    Gains are those of the first metric that takes regions, in its unit.
    """
    given = compared[compared["kind"] == WITH_BOXES].set_index("image_id")
    regional = next((facts for facts in metrics if facts.regions), None)
    if given.empty or regional is None:
        return None
    before, sign = headline.loc[given.index], 1 if regional.higher_is_better else -1

    def gain(part: str) -> float | None:
        return _number(sign * (given[regional.name + part] - before[regional.name + part]).mean())

    outside = gain(OUTSIDE)
    return {
        "pictures": len(given),
        "metric": regional.name,
        "gain_inside": gain(INSIDE),
        "loss_outside": None if outside is None else -outside,
        "bytes_ratio": float((given["stream_bytes"] / before["stream_bytes"]).mean()),
    }


def _per_class(compared: "pd.DataFrame", facts: MetricFacts) -> list[Data]:
    """The value inside the boxes of each class, of the model and of JPEG at each picture's own rate."""
    column = facts.name + BY_CLASS
    rows = compared.loc[
        (compared["kind"] == HEADLINE) | (compared["codec"] == "jpeg"), ["image_id", "kind", "bpp", column]
    ]
    rows = rows.explode(column).dropna(subset=[column])
    if rows.empty:
        return []
    rows = rows.assign(
        label=[cell["label"] for cell in rows[column]],
        value=[cell["value"] for cell in rows[column]],
        rate=np.log(rows["bpp"]),
    )
    own, jpeg = rows[rows["kind"] == HEADLINE], rows[rows["kind"] == CLASSICAL].sort_values("rate")
    curves = {key: group[["rate", "value"]].to_numpy().T for key, group in jpeg.groupby(["image_id", "label"])}
    against = []
    for picture, label, rate in zip(own["image_id"], own["label"], own["rate"], strict=True):
        rates, values = curves.get((picture, label), np.empty((2, 0)))
        reached = len(rates) > 0 and rates[0] <= rate <= rates[-1]
        against.append(float(np.interp(rate, rates, values)) if reached else math.nan)
    by_label = own.assign(jpeg=against).groupby("label")
    return [
        {
            "label": str(label),
            "pictures": len(group),
            facts.name: float(group["value"].mean()),
            f"jpeg_{facts.name}_at_equal_bpp": _number(group["jpeg"].mean(skipna=False)),
        }
        for label, group in by_label
    ]


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
