"""What the best and the worst pictures look like: crops of both, kept with the evaluation in a form that browsers read."""

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from balle_li.boxes import box_weight_map, clip_to_window, to_records, weighted
from balle_li.evaluation.codecs import codec, round_trip
from balle_li.evaluation.measurements import (
    CLASSICAL,
    EXAMPLES,
    EXAMPLES_INDEX,
    HEADLINE,
    STREAMS,
    Reference,
    gains,
    measure_decoded,
)
from balle_li.evaluation.measuring import ModelUnderTest, reason_of
from balle_li.evaluation.metrics import MetricFacts
from balle_li.evaluation.test_set import PictureSet, read_reference
from balle_li.files import write_bytes, write_json
from balle_li.quality_map import box_offset

if TYPE_CHECKING:
    import pandas as pd

BEST_AND_WORST = 5
LONGEST = 1024
"""Pixels of a crop's longer side at most; larger pictures are cut, never scaled, so that artefacts stay as they are."""
WEBP_QUALITY = 90
BRIGHTEST = 0.995
"""The quantile of a map of bits that is shown in the brightest colour."""

logger = logging.getLogger(__name__)

Window = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""


def write_examples(
    model: ModelUnderTest,
    pictures: PictureSet,
    frame: "pd.DataFrame",
    metrics: Sequence[MetricFacts],
    class_weights: Mapping[str, float],
    count: int,
    folder: Path,
) -> None:
    """Write `examples/` of an evaluation whose streams lie in `folder`: five WebP files a picture, and `examples.json`.

    These are `count` pictures, evenly from the largest gain over JPEG to the smallest, by the first of the metrics, so that
    a page does not flatter; and the five best and five worst. A picture that fails is left out with a warning.
    """
    chosen = _chosen(frame, metrics, count)
    rows = {row["image_id"]: row for row in pictures.rows}
    values = frame[frame["kind"] == HEADLINE].set_index("image_id")
    index = []
    for image_id, (gain, on_page) in chosen.items():
        try:
            reference = read_reference(pictures.root, rows[image_id], class_weights)
            stream = (folder / STREAMS / f"{image_id}.bli").read_bytes()
            own = {name: value for name, value in values.loc[image_id].items() if name in _shown(metrics)}
            entry = _write(model, reference, stream, own, metrics, folder / EXAMPLES / image_id)
            index.append({"gain": gain, "gain_metric": metrics[0].name, "on_page": on_page, **entry})
        except Exception as error:  # a page with one picture less is better than none
            logger.warning("%s is no example of %s: %s", image_id, pictures.name, reason_of(error))
    write_json(folder / EXAMPLES / EXAMPLES_INDEX, index)


def _chosen(frame: "pd.DataFrame", metrics: Sequence[MetricFacts], count: int) -> dict[str, tuple[float | None, bool]]:
    """The gain of each chosen picture, the largest first, and whether it is one of the `count`."""
    ranked = gains(frame, metrics[:1])[metrics[0].name].sort_values(ascending=False, na_position="last", kind="stable")
    evenly = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    ends = [*range(min(BEST_AND_WORST, len(ranked))), *range(max(0, len(ranked) - BEST_AND_WORST), len(ranked))]
    places = sorted({*evenly.tolist(), *ends})
    return {
        str(ranked.index[place]): (_none_of_nan(ranked.iloc[place]), place in evenly)
        for place in places
    }  # fmt: skip


def _write(
    model: ModelUnderTest,
    reference: Reference,
    stream: bytes,
    own: Mapping[str, Any],
    metrics: Sequence[MetricFacts],
    folder: Path,
) -> dict[str, Any]:
    """Write the views of one picture and return its entry of the index."""
    decoded = np.asarray(model.codec.decompress(stream).convert("RGB"))
    jpeg, jpeg_pixels = jpeg_of_size(reference, len(stream), [facts.name for facts in metrics])
    analysis = model.codec.analyse(Image.fromarray(reference.pixels))
    step, brightest = model.codec.downsampling, max(float(np.quantile(analysis.bits, BRIGHTEST)), 1e-9)
    left, top, right, bottom = window = _window(reference)
    height, width = reference.pixels.shape[:2]
    views = {
        "original": Image.fromarray(reference.pixels).crop(window),
        "model": Image.fromarray(decoded).crop(window),
        "jpeg": Image.fromarray(jpeg_pixels).crop(window),
        "bits": _heat(analysis.bits / brightest, step, window),
    }
    if analysis.importance is not None:
        views["importance"] = _heat(analysis.importance, step, window)
    for name, picture in views.items():
        write_bytes(folder / f"{name}.webp", _webp(picture))
    seen = clip_to_window(reference.boxes, left / width, top / height, right / width, bottom / height)
    shown = _shown(metrics)
    return {
        "image_id": reference.image_id,
        "views": list(views),
        "width": right - left,
        "height": bottom - top,
        "whole": [width, height],
        "source_bytes": reference.source_bytes,
        "boxes": to_records(seen),
        **_inside(reference, analysis.bits, step),
        "most_bpp": brightest / step**2,
        "model": {name: _none_of_nan(own[name]) for name in shown},
        "jpeg": {name: jpeg[name] for name in shown} | {"setting": jpeg["setting"]},
    }


def jpeg_of_size(
    reference: Reference, stream_bytes: int, metrics: Sequence[str]
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The JPEG file whose size is nearest to `stream_bytes`: its row of values, and its decoded picture.

    Raises BalleLiError: JPEG cannot hold the picture.
    """
    jpeg = codec("jpeg")
    low, high = 1, 95
    while high - low > 1:
        middle = (low + high) // 2
        if round_trip(reference.pixels, jpeg, middle).stream_bytes <= stream_bytes:
            low = middle
        else:
            high = middle
    trips = [(quality, round_trip(reference.pixels, jpeg, quality)) for quality in (low, high)]
    quality, trip = min(trips, key=lambda pair: abs(pair[1].stream_bytes - stream_bytes))
    names = jpeg.name, jpeg.setting(quality), CLASSICAL
    return measure_decoded(reference, names, trip.decoded, trip.stream_bytes, trip[2:], metrics), trip.decoded


def _shown(metrics: Sequence[MetricFacts]) -> list[str]:
    return ["bpp", "stream_bytes", "compression_ratio", *(column for facts in metrics for column in facts.columns)]


def _inside(reference: Reference, bits: NDArray[np.float32], step: int) -> dict[str, float | None]:
    """The fractions of the picture's bits and of its area that lie in boxes; None where it has no box."""
    if not reference.boxes:
        return {"bits_inside": None, "area_inside": None}
    height, width = reference.pixels.shape[:2]
    boxes = weighted(reference.boxes, {})
    cover = box_offset(boxes, height, width, step).clip(0, 1)
    return {
        "bits_inside": float((bits * cover).sum() / max(float(bits.sum()), 1e-9)),
        "area_inside": float(box_weight_map(boxes, height, width).mean()),
    }


def _window(reference: Reference) -> Window:
    """The whole picture, or as much as may be, about its largest box."""
    height, width = reference.pixels.shape[:2]
    largest = max(reference.boxes, key=lambda box: box.area, default=None)
    centre = (0.5, 0.5) if largest is None else ((largest.xmin + largest.xmax) / 2, (largest.ymin + largest.ymax) / 2)
    across, down = min(width, LONGEST), min(height, LONGEST)
    left = min(max(round(centre[0] * width - across / 2), 0), width - across)
    top = min(max(round(centre[1] * height - down / 2), 0), height - down)
    return left, top, left + across, top + down


def _heat(values: NDArray[np.float32], step: int, window: Window) -> Image.Image:
    """A map of latents, `step` pixels apart, in colour over the window; 0 is dark, 1 bright."""
    from matplotlib import colormaps

    left, top, right, bottom = window
    grey = Image.fromarray((255 * values.clip(0, 1)).astype(np.uint8))
    box = left / step, top / step, min(right / step, grey.width), min(bottom / step, grey.height)
    shown = grey.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=box)
    return Image.fromarray((255 * colormaps["magma"](np.asarray(shown))[..., :3]).astype(np.uint8))


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=WEBP_QUALITY, method=4)
    return file.getvalue()


def _none_of_nan(value: Any) -> Any:
    number = value.item() if hasattr(value, "item") else value
    return None if number != number else number
