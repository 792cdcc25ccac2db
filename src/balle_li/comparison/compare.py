"""A comparison of runs as plain data: what the report, its plots and `comparison.json` show, and where it comes from."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from balle_li.comparison.curves import RdCurve
from balle_li.comparison.references import references
from balle_li.comparison.runs import EvaluatedRun, Series, SetResult
from balle_li.comparison.summary import bd_rates, verdict_in
from balle_li.config import TEST_SET
from balle_li.evaluation.metrics import MetricFacts
from balle_li.evaluation.published import kinds_differ, published_sets

if TYPE_CHECKING:
    import pandas as pd

ELLIPSE_POINTS = 48

Data = dict[str, Any]

logger = logging.getLogger(__name__)


def compare_runs(series: Sequence[Series]) -> Data:
    """Everything in JSON's own types, by set of pictures, the test split first."""
    runs = [run for one in series for run in one.runs]
    names = list(dict.fromkeys([TEST_SET, *(name for run in runs for name in run.sets)]))
    return {
        "runs": {run.run_id: _run(run, one) for one in series for run in one.runs},
        "series": [one.label for one in series],
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
        "kind": run.kind,
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
        if result.examples is None:
            logger.warning("run %s (%s) kept no pictures of %s; its values are compared", run.name, run.run_id, name)
    curves = [one.curve(name) for one in kept]
    kinds = {one.label: one.runs[0].kind for one in kept}
    others = references(first, [result for _, _, result in results], kinds.values())
    metrics = list({facts.name: facts for _, _, result in results for facts in result.facts}.values())
    return {
        "pictures": first.metrics["counts"]["pictures"],
        "apart": first.metrics["counts"]["pictures_apart"],
        "verdict": verdict_in(first.metrics) if len(results) == 1 else [],
        "metrics": [asdict(facts) for facts in metrics],
        "left_out": [run.run_id for one in series for run in one.runs if run not in [found[0] for found in results]],
        "curves": [{**_curve(curve, ids), "title": curve.codec, "kind": kinds[curve.codec]} for curve, ids in curves],
        "references": [
            {**_curve(one.curve, []), "title": one.title, "kind": one.kind, "sort": one.sort} for one in others
        ],
        "classical_from": first_run.run_id,
        "published_from": published_sets()[known_as].source if (known_as := first.metrics["known_as"]) else None,
        "bd_rate": _bd_rates(
            [*((one.curve, one.kind) for one in others), *((curve, kinds[curve.codec]) for curve, _ in curves)], metrics
        ),
        "overview": [_overview(run, result) for run, _, result in results],
        "spread": [
            *(
                _spread(run_label(run, one), order.index(one.label), run.run_id, result.pictures, metrics)
                for run, one, result in results
            ),
            *(_spread(f"JPEG, {setting}", None, None, rows, metrics) for setting, rows in first.paper_jpeg.items()),
        ],
        "examples": {run.run_id: result.examples for run, _, result in results if result.examples is not None},
    }


def _most_common(name: str, series: Sequence[Series]) -> str:
    digests = Counter(run.sets[name].digest for one in series for run in one.runs if name in run.sets)
    common = digests.most_common(1)[0][0]
    for one in series:
        for run in one.runs:
            if name in run.sets and run.sets[name].digest != common:
                logger.warning("run %s (%s) is left out on %s: measured on other pictures", run.name, run.run_id, name)
    return common


def _curve(curve: RdCurve, run_ids: Sequence[str]) -> Data:
    points = curve.records()
    for point, run_id in zip(points, run_ids, strict=False):
        point["run"] = run_id
    return {"name": curve.codec, "points": points}


def _bd_rates(
    curves: Sequence[tuple[RdCurve, str | None]], metrics: Sequence[MetricFacts]
) -> dict[str, dict[str, Data]]:
    """Anchor by name, then tested curve by name: `by`, percent, overlap and warning by metric, and `unlike`, which says
    where the two were trained for different things. curves: with the kinds of their models."""
    real = [(curve, kind) for curve, kind in curves if len(curve.points) > 1]
    return {
        anchor.codec: {
            tested.codec: {"by": bd_rates(metrics, anchor, tested), "unlike": kinds_differ(of_anchor, kind)}
            for tested, kind in real
            if tested is not anchor
        }
        for anchor, of_anchor in real
    }


def _overview(run: EvaluatedRun, result: SetResult) -> Data:
    metrics, jpeg = result.metrics, result.metrics["jpeg"]
    saved = {f"bits_saved_{facts.name}": jpeg[f"at_equal_{facts.name}"]["bits_saved"] for facts in result.facts}
    megapixels = float((result.pictures["height"] * result.pictures["width"]).sum()) / 1e6
    speed = {
        f"{name}_mps": megapixels / max(float(result.pictures[f"{name}_seconds"].sum()), 1e-9)
        for name in ("encode", "decode")
    }
    return {"run": run.run_id, **metrics["model"], **saved, **speed, "with_boxes": metrics.get("with_boxes")}


def _spread(
    label: str, series: int | None, run_id: str | None, rows: "pd.DataFrame", metrics: Iterable[MetricFacts]
) -> Data:
    """The values of one run, the series-th, or of a JPEG setting, picture by picture, and the ellipses of their clouds."""
    ratios, columns = rows["compression_ratio"], [facts.name for facts in metrics if facts.name in rows]
    return {
        "label": label,
        "series": series,
        "run": run_id,
        "pictures": rows["image_id"].tolist(),
        "compression_ratio": ratios.tolist(),
        "values": {name: [None if math.isnan(value) else value for value in rows[name]] for name in columns},
        "ellipses": {name: ellipse_of(np.stack([ratios, rows[name]], 1)) for name in columns},
    }


def ellipse_of(points: "np.ndarray[Any, Any]") -> list[tuple[float, float]]:
    """The outline of one standard deviation about the mean of points `(n, 2)`, a closed polygon in their own units.

    Empty for fewer than three points, which have no spread worth drawing. Neither Matplotlib nor Plotly draws it.
    """
    cloud = points[np.isfinite(points).all(axis=1)]
    if len(cloud) < 3:
        return []
    values, vectors = np.linalg.eigh(np.cov(cloud.T))
    angles = np.linspace(0, 2 * math.pi, ELLIPSE_POINTS + 1)
    outline = cloud.mean(axis=0) + np.stack([np.cos(angles), np.sin(angles)], 1) @ (vectors * np.sqrt(values.clip(0))).T
    return [(float(x), float(y)) for x, y in outline]
