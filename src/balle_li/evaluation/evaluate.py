"""The evaluate stage: a model's codec on every test picture, through real files, beside the classical codecs."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balle_li.compute import ComputeConfig
from balle_li.evaluation import classical_set, test_set
from balle_li.evaluation.classical import codec_title
from balle_li.evaluation.config import EvaluationConfig
from balle_li.evaluation.curves import mean_curve
from balle_li.evaluation.examples import write_examples
from balle_li.evaluation.measurement import Measurement, write_measurements
from balle_li.evaluation.model_under_test import ModelUnderTest, PictureResult
from balle_li.evaluation.rd_plot import plot_rd
from balle_li.evaluation.summary import model_curve, summarise
from balle_li.evaluation.test_set import PictureSet
from balle_li.evaluation.unfinished import Unfinished, key_of, unfinished
from balle_li.files import write_json
from balle_li.progress import progress
from balle_li.run_log import RunLog

REPORT_FILES = (
    "metrics.json", "rd_curve.json", "jpeg.json", "classical.json", "pictures.parquet", "rd_curve.png", "pictures.png",
)  # fmt: skip
SHORT_FILE = "figures.json"
"""A dozen figures of the test split, for DVC's tables; metrics.json holds everything."""
SIDE_BY_SIDE = ("rd_curve.png", "pictures.png")
"""Also beside the run's folders: the page on which MLflow compares runs offers only files that lie in none."""


@dataclass(frozen=True)
class _How:
    """What is equal for every set of pictures."""

    model: ModelUnderTest
    config: EvaluationConfig
    class_weights: Mapping[str, float]
    compute: ComputeConfig
    work: Unfinished


def evaluate(
    raw: Path,
    curated: Path,
    models: Path,
    config: EvaluationConfig,
    class_weights: Mapping[str, float],
    compute: ComputeConfig,
    folder: Path,
    log: RunLog,
) -> None:
    """Measure the model folder `models` on the test split and write REPORT_FILES, SHORT_FILE, `streams/*.bli` and `shown/`
    to `folder`.

    Of every extra set the same goes to `sets/<name>/`, its figures into the `sets` of metrics.json. All that a
    comparison of runs needs goes to `log`: the figures at the step the model was trained to, the files as artifacts.

    Raises StageError: there is no model or no test picture yet, or a picture fails, which is named; ConfigError: an
    extra set is not there; BalleLiError: the model is damaged or the device is not there.
    """
    model = ModelUnderTest.load(models, config.device)
    main = PictureSet.test_split(raw, curated)
    extra = [PictureSet.folder(name, path) for name, path in config.extra_sets.items()]
    others: dict[str, Any] = {}
    measured = {"model": model.digest, "qualities": config.all_qualities, "device": config.device}
    with unfinished(**measured) as work:
        how = _How(model, config, class_weights, compute, work)
        for pictures in extra:
            others[pictures.name] = _evaluate_set(how, pictures, {}, folder, log)
        metrics = _evaluate_set(how, main, others, folder, log)
    write_json(folder / SHORT_FILE, short_figures(metrics))
    log.metrics(model.steps, logged_figures(metrics))


def short_figures(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """What fits on a screen, flat and rounded; BD-rates are None for a model of one rate."""
    model, jpeg = metrics["model"], metrics["jpeg"]
    found = {
        **{name: model[name] for name in ("bpp", "psnr", "ms_ssim", "rd_cost", "encode_ms", "decode_ms")},
        "saved_psnr": jpeg["at_equal_psnr"]["bits_saved"],
        "saved_ms_ssim": jpeg["at_equal_ms_ssim"]["bits_saved"],
        **{f"bd_{name}": metrics.get("bd_rate", {}).get(name, {}).get("percent") for name in ("psnr", "ms_ssim")},
        "in_boxes": metrics.get("with_boxes", {}).get("gain_inside"),
    }
    return {name: None if value is None else float(f"{value:.4g}") for name, value in found.items()}


def logged_figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of metrics.json that a run keeps: the model's, and JPEG's at the same rate, under `test/`; those of
    extra sets under their names."""
    figures = _figures_of(metrics, "test")
    for name, others in metrics.get("sets", {}).items():
        figures |= _figures_of(others, name)
    return {name: float(value) for name, value in figures.items() if value is not None}


def _figures_of(metrics: Mapping[str, Any], prefix: str) -> dict[str, float | None]:
    beside = metrics["jpeg"]
    figures = {f"{prefix}/{name}": value for name, value in metrics["model"].items()}
    figures |= {f"{prefix}/jpeg_{name}": value for name, value in beside["at_equal_bpp"].items() if name != "bpp"}
    figures |= {f"{prefix}/bits_saved_{name}": beside[f"at_equal_{name}"]["bits_saved"] for name in ("psnr", "ms_ssim")}
    figures |= {f"{prefix}/bd_rate_{name}": found["percent"] for name, found in metrics.get("bd_rate", {}).items()}
    boxes = metrics.get("with_boxes", {})
    figures |= {f"{prefix}/boxes_{name}": boxes[name] for name in ("gain_inside", "loss_outside") if name in boxes}
    return figures


def _evaluate_set(
    how: _How, pictures: PictureSet, others: Mapping[str, Any], report: Path, log: RunLog
) -> dict[str, Any]:
    """Measure one set and write its part of `report`; returns its metrics, with those of the sets `others`, if any."""
    folder = report / pictures.place
    streams = folder / "streams"
    shutil.rmtree(streams, ignore_errors=True)
    results = _measure_model(how, pictures, streams)
    chosen = classical_set.settings(how.config)
    classical = classical_set.measure_set(pictures, chosen, how.class_weights, how.compute)
    jpeg = [measurement for measurement in classical if measurement.codec == "jpeg"]
    metrics = summarise(results, jpeg, how.model.lmbda, pictures.digest)
    if others:
        metrics["sets"] = dict(others)
    own = [measurement for result in results for measurement in (*result.curve, result.with_boxes) if measurement]
    write_measurements(folder / "pictures.parquet", [*own, *classical])
    _write_curves(how.model, results, classical, metrics, folder)
    rows = how.config.pictures_on_page
    shown = write_examples(how.model, pictures, results, jpeg, rows, how.class_weights, folder)
    write_json(folder / "metrics.json", metrics)
    for path in [*(folder / name for name in REPORT_FILES), *shown]:
        log.artifact(path, (Path("evaluation") / path.parent.relative_to(report)).as_posix())
    if folder == report:
        for name in SIDE_BY_SIDE:
            log.artifact(folder / name)
    return metrics


def _measure_model(how: _How, pictures: PictureSet, streams: Path) -> list[PictureResult]:
    results: list[PictureResult] = []
    warm = False
    with progress(f"{how.model.name} on {pictures.name}", len(pictures.rows), "pictures") as advance:
        for row in pictures.rows:
            with test_set.naming(row):
                reference = pictures.read(row)
                key, stream = key_of(reference, how.class_weights), streams / f"{reference.image_id}.bli"
                result = how.work.find(key, stream)
                if result is None:
                    if not warm:
                        how.model.warm_up(reference)
                        warm = True
                    result = how.model.measure(reference, how.config.all_qualities, how.class_weights, stream)
                    how.work.keep(key, result, stream)
                results.append(result)
            advance(1)
    return results


def _write_curves(
    model: ModelUnderTest,
    results: Sequence[PictureResult],
    classical: Sequence[Measurement],
    metrics: Mapping[str, Any],
    folder: Path,
) -> None:
    names = list(dict.fromkeys(measurement.codec for measurement in classical))
    curve, beside = model_curve(results), [mean_curve(name, classical) for name in names]
    write_json(folder / "rd_curve.json", curve.records())
    write_json(folder / "jpeg.json", beside[0].records())
    write_json(folder / "classical.json", [record for other in beside for record in other.records()])
    titles = {name: codec_title(name) for name in names} | {"jpeg": "JPEG (4:2:0)"}
    titles[model.name] = f"{model.name} ({model.setting})"
    pictures = f"{len(results)} picture{'s' if len(results) > 1 else ''}"
    headline = f"{model.name} beside classical codecs, mean over {pictures}"
    notes = [*metrics["jpeg"]["verdict"], *_bd_rate_notes(metrics.get("bd_rate", {}))]
    plot_rd([curve], beside, titles, headline, notes, folder / "rd_curve.png")


def _bd_rate_notes(found: Mapping[str, Any]) -> list[str]:
    notes = []
    for metric, title in (("psnr", "PSNR"), ("ms_ssim", "MS-SSIM")):
        if metric in found:
            figure, warning = found[metric]["percent"], found[metric]["warning"]
            rate = "cannot be computed" if figure is None else f"{figure:+.1f} %"
            notes.append(f"BD-rate against JPEG by {title}: {rate}{f' ({warning})' if warning else ''}.")
    return notes
