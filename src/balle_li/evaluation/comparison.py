"""A comparison of runs as plain data: what the report, its plots and `comparison.json` show, and where it comes from."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from balle_li.evaluation.bd_rate import bd_rate
from balle_li.evaluation.classical import codec_title
from balle_li.evaluation.config import TEST_SET
from balle_li.evaluation.curves import Metric, RdCurve
from balle_li.evaluation.evaluated_run import EvaluatedRun, Row, SetResult
from balle_li.evaluation.series import Series
from balle_li.evaluation.spread import box_of, ellipse_of
from balle_li.evaluation.styles import style

BD_METRICS: tuple[tuple[str, Metric], ...] = (("psnr", "psnr"), ("ms_ssim", "ms_ssim_db"))

Data = dict[str, Any]

logger = logging.getLogger(__name__)


def compare_runs(series: Sequence[Series]) -> Data:
    """Everything in JSON's own types, by set of pictures, the test split first."""
    runs = [run for one in series for run in one.runs]
    names = list(dict.fromkeys([TEST_SET, *(name for run in runs for name in run.sets)]))
    return {
        "runs": {run.run_id: _run(run, one) for one in series for run in one.runs},
        "series": [one.label for one in series],
        "styles": [asdict(style(index)) for index in range(len(series))],
        "sets": {name: _compare_on(name, series) for name in names},
    }


def run_label(run: EvaluatedRun, series: Series) -> str:
    """A run's name in the report: that of its series, and lmbda where the series has several."""
    return series.label if len(series.runs) == 1 else f"{series.label}, lmbda={run.lmbda}"


def _run(run: EvaluatedRun, series: Series) -> Data:
    return {
        "label": run_label(run, series),
        "series": series.label,
        "model": run.model,
        "lmbda": run.lmbda,
        "name": run.name,
        "started": run.started,
        "source": run.source,
    }


def _compare_on(name: str, series: Sequence[Series]) -> Data:
    """One set of pictures: only runs that were measured on the same ones, those of most runs, are compared."""
    common = _most_common(name, series)
    kept = [
        Series(one.label, tuple(run for run in one.runs if name in run.sets and run.sets[name].digest == common))
        for one in series
    ]
    kept = [one for one in kept if one.runs]
    order = [one.label for one in series]
    results = [(run, one, run.sets[name]) for one in kept for run in one.runs]
    first_run, _, first = max(results, key=lambda found: len(found[2].classical))
    for run, _, result in results:
        if result.shown is None:
            logger.warning("run %s (%s) kept no pictures of %s; its figures are compared", run.name, run.run_id, name)
    curves = [one.curve(name) for one in kept]
    classical = list(first.classical.values())
    return {
        "pictures": first.metrics["counts"]["pictures"],
        "left_out": [run.run_id for one in series for run in one.runs if run not in [found[0] for found in results]],
        "curves": [_curve(curve, [run.run_id for run in of]) for curve, of in curves],
        "classical": [_curve(curve, [], codec_title(curve.codec)) for curve in classical],
        "classical_from": first_run.run_id,
        "bd_rate": _bd_rates([*classical, *(curve for curve, _ in curves)]),
        "overview": [_overview(run, result) for run, _, result in results],
        "spread": [
            *(
                _spread(run_label(run, one), order.index(one.label), run.run_id, result.pictures)
                for run, one, result in results
            ),
            *(_spread(f"JPEG, {setting}", None, None, rows) for setting, rows in first.paper_jpeg.items()),
        ],
        "shown": {run.run_id: result.shown for run, _, result in results if result.shown is not None},
    }


def _most_common(name: str, series: Sequence[Series]) -> str:
    digests = Counter(run.sets[name].digest for one in series for run in one.runs if name in run.sets)
    common = digests.most_common(1)[0][0]
    for one in series:
        for run in one.runs:
            if name in run.sets and run.sets[name].digest != common:
                logger.warning("run %s (%s) is left out on %s: measured on other pictures", run.name, run.run_id, name)
    return common


def _curve(curve: RdCurve, run_ids: Sequence[str], title: str | None = None) -> Data:
    points = [asdict(point) for point in curve.points]
    for point, run_id in zip(points, run_ids, strict=False):
        point["run"] = run_id
    return {"name": curve.codec, "title": title or curve.codec, "points": points}


def _bd_rates(curves: Sequence[RdCurve]) -> dict[str, dict[str, Data]]:
    """Anchor by name, then tested curve by name, then metric: percent, overlap and warning."""
    real = [curve for curve in curves if len(curve.points) > 1]
    return {
        anchor.codec: {
            tested.codec: {
                key: asdict(bd_rate(anchor.values(metric), tested.values(metric))) for key, metric in BD_METRICS
            }
            for tested in real
            if tested is not anchor
        }
        for anchor in real
    }


def _overview(run: EvaluatedRun, result: SetResult) -> Data:
    metrics, beside = result.metrics, result.metrics["jpeg"]
    saved = {f"bits_saved_{name}": beside[f"at_equal_{name}"]["bits_saved"] for name in ("psnr", "ms_ssim")}
    pixels = [row["height"] * row["width"] / 1e6 for row in result.pictures]
    speed = {
        f"{name}_mps": sum(pixels) / max(sum(row[f"{name}_seconds"] for row in result.pictures), 1e-9)
        for name in ("encode", "decode")
    }
    return {"run": run.run_id, **metrics["model"], **saved, **speed, "with_boxes": metrics.get("with_boxes")}


def _spread(label: str, series: int | None, run_id: str | None, rows: Sequence[Row]) -> Data:
    """Box plots and scatter of one run, the series-th, or of a JPEG setting, picture by picture."""
    points = [(row["compression_ratio"], row["ms_ssim"]) for row in rows if row["ms_ssim"] is not None]
    return {
        "label": label,
        "series": series,
        "run": run_id,
        "pictures": [row["image_id"] for row in rows if row["ms_ssim"] is not None],
        "points": points,
        "ellipse": ellipse_of(points),
        "ms_ssim": asdict(box_of([y for _, y in points])) if points else None,
        "compression_ratio": asdict(box_of([row["compression_ratio"] for row in rows])),
    }
