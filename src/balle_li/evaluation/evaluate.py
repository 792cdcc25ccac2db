"""The evaluate stage: a model's codec on every test picture, through real files, beside JPEG."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.datasets.manifest import ManifestRow
from balle_li.errors import StageError
from balle_li.evaluation import test_set
from balle_li.evaluation.classical import classical_codec
from balle_li.evaluation.classical_cache import default_cache, measure_classical
from balle_li.evaluation.config import EvaluationConfig
from balle_li.evaluation.curves import mean_curve
from balle_li.evaluation.measurement import Measurement, Reference, measure_decoded, write_measurements
from balle_li.evaluation.picture_page import Example, choose_examples, draw_page, jpeg_of_size
from balle_li.evaluation.rd_plot import plot_rd
from balle_li.evaluation.summary import summarise
from balle_li.files import read_json, write_bytes, write_json
from balle_li.progress import progress
from balle_li.run_log import RunLog

REPORT_FILES = ("metrics.json", "rd_curve.json", "jpeg.json", "pictures.parquet", "rd_curve.png", "pictures.png")


@dataclass(frozen=True)
class Model:
    """The codec under test and what its folder says of it."""

    codec: Codec
    name: str
    setting: str
    lmbda: float
    steps: int

    @classmethod
    def load(cls, folder: Path, device: str) -> "Model":
        """Raises StageError when there is no model yet, BalleLiError when it is damaged or the device is not there."""
        if not (folder / "model.json").is_file():
            raise StageError(f"{folder} holds no model; run `kedro run --pipeline train` first")
        description = read_json(folder / "model.json")
        codec = Codec.load(folder, device)
        lmbda = float(description["lmbda"])
        setting = f"N={description['N']}, lmbda={lmbda:g}"
        steps = description.get("training", {}).get("steps", 0)
        return cls(codec, description["name"], setting, lmbda, steps if isinstance(steps, int) else 0)


def evaluate(
    raw: Path,
    curated: Path,
    models: Path,
    config: EvaluationConfig,
    class_weights: Mapping[str, float],
    folder: Path,
    log: RunLog,
) -> None:
    """Measure the model folder `models` on the test split and write REPORT_FILES and `streams/*.bli` to `folder`.

    The figures go to `log` at the step the model was trained to, the report files as its artifacts.

    Raises StageError: there is no model or no test picture yet, or a picture fails, which is named; BalleLiError: the
    model is damaged or the device is not there.
    """
    model = Model.load(models, config.device)
    rows = test_set.read_rows(curated)
    streams = folder / "streams"
    shutil.rmtree(streams, ignore_errors=True)
    own: list[Measurement] = []
    jpeg: list[Measurement] = []
    with progress("Evaluating", len(rows), "pictures") as advance:
        for row in rows:
            with test_set.naming(row):
                reference = test_set.read_reference(raw, row)
                if not own:  # the first call sets up kernels and caches that later ones find
                    _round_trip(model.codec, reference.pixels, streams / f"{reference.image_id}.bli")
                own.append(_measure_model(model, reference, class_weights, streams))
                for quality in config.all_jpeg_qualities:
                    beside = measure_classical(
                        reference, classical_codec("jpeg"), quality, class_weights, default_cache()
                    )
                    jpeg.append(beside)
            advance(1)
    metrics = summarise(own, jpeg, model.lmbda, test_set.digest(rows))
    write_measurements(folder / "pictures.parquet", [*own, *jpeg])
    _write_curves(model, own, jpeg, metrics, folder)
    _write_page(model, raw, rows, own, jpeg, config.pictures_on_page, class_weights, folder)
    write_json(folder / "metrics.json", metrics)
    log.metrics(model.steps, logged_figures(metrics))
    for name in REPORT_FILES:
        log.artifact(folder / name, "evaluation")


def logged_figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of metrics.json that a run keeps: the model's, and JPEG's at the same rate, under `test/`."""
    beside = metrics["jpeg"]
    figures = {f"test/{name}": value for name, value in metrics["model"].items()}
    figures |= {f"test/jpeg_{name}": value for name, value in beside["at_equal_bpp"].items() if name != "bpp"}
    figures |= {f"test/bits_saved_{name}": beside[f"at_equal_{name}"]["bits_saved"] for name in ("psnr", "ms_ssim")}
    return {name: float(value) for name, value in figures.items() if value is not None}


def _measure_model(
    model: Model, reference: Reference, class_weights: Mapping[str, float], streams: Path
) -> Measurement:
    path = streams / f"{reference.image_id}.bli"
    decoded, seconds = _round_trip(model.codec, reference.pixels, path)
    size = path.stat().st_size
    return measure_decoded(reference, model.name, model.setting, decoded, size, seconds, class_weights)


def _round_trip(codec: Codec, pixels: np.ndarray, path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Compress to `path`, read the file back, decompress: the decoded picture, and the seconds each way took."""
    image = Image.fromarray(pixels)
    start = time.perf_counter()
    stream = codec.compress(image)
    encode_seconds = time.perf_counter() - start
    write_bytes(path, stream)
    stream = path.read_bytes()
    start = time.perf_counter()
    decoded = codec.decompress(stream)
    decode_seconds = time.perf_counter() - start
    return np.asarray(decoded.convert("RGB")), (encode_seconds, decode_seconds)


def _write_curves(
    model: Model, own: list[Measurement], jpeg: list[Measurement], metrics: Mapping[str, Any], folder: Path
) -> None:
    curve, beside = mean_curve(model.name, own), mean_curve("jpeg", jpeg)
    write_json(folder / "rd_curve.json", curve.records())
    write_json(folder / "jpeg.json", beside.records())
    titles = {model.name: f"{model.name} ({model.setting})", "jpeg": "JPEG (4:2:0)"}
    pictures = f"{len(own)} test picture{'s' if len(own) > 1 else ''}"
    headline = f"{model.name} beside JPEG, mean over {pictures}"
    plot_rd([curve], [beside], titles, headline, metrics["jpeg"]["verdict"], folder / "rd_curve.png")


def _write_page(
    model: Model,
    raw: Path,
    rows: list[ManifestRow],
    own: list[Measurement],
    jpeg: list[Measurement],
    pictures_on_page: int,
    class_weights: Mapping[str, float],
    folder: Path,
) -> None:
    by_id = {row["image_id"]: row for row in rows}
    examples = []
    for measurement in choose_examples(own, jpeg, pictures_on_page):
        row = by_id[measurement.image_id]
        with test_set.naming(row):
            reference = test_set.read_reference(raw, row)
            stream = (folder / "streams" / f"{measurement.image_id}.bli").read_bytes()
            decoded = np.asarray(model.codec.decompress(stream).convert("RGB"))
            analysis = model.codec.analyse(Image.fromarray(reference.pixels))
            beside = jpeg_of_size(reference, measurement.stream_bytes, class_weights)
            step = model.codec.downsampling
            examples.append(Example(reference, measurement, decoded, *beside, analysis.bits, analysis.importance, step))
    subtitle = f"{len(examples)} of {len(own)} test pictures, from the largest to the smallest gain in PSNR over JPEG"
    draw_page(examples, f"{model.name} ({model.setting})", subtitle, folder / "pictures.png")
