"""Measuring classical codecs once: a picture at a setting gives the same file for ever, so its figures are kept."""

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.errors import BalleLiError
from balle_li.evaluation.classical import ClassicalCodec
from balle_li.evaluation.measurement import Measurement, Reference, measure_decoded
from balle_li.files import project_home, read_json, write_json

FORMAT = 1
"""Raise it when what a measurement means changes: older records are then measured again."""


def default_cache() -> Path:
    """Where records are kept unless told otherwise, one JSON file each; it may be deleted at any time."""
    return project_home() / ".classical"


def measure_classical(
    reference: Reference, codec: ClassicalCodec, quality: float, class_weights: Mapping[str, float], cache: Path
) -> Measurement:
    """Send `reference` through `codec` and a real file, or take the figures of an earlier time from `cache`."""
    setting = codec.setting(quality)
    key = f"{FORMAT} {reference.digest(class_weights)} {codec.name} {setting} {codec.library()}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    path = cache / digest[:2] / f"{digest[2:]}.json"
    known = _read(path, key)
    if known is not None:
        return dataclasses.replace(known, image_id=reference.image_id)
    measurement = _measure(reference, codec, quality, class_weights)
    write_json(path, {"key": key, "measurement": dataclasses.asdict(measurement)})
    return measurement


def round_trip(
    pixels: np.ndarray, codec: ClassicalCodec, quality: float
) -> tuple[np.ndarray, int, tuple[float, float]]:
    """Through a real file and back: the decoded uint8 picture, the file's bytes, seconds of encoding and decoding."""
    image = Image.fromarray(pixels)
    with tempfile.TemporaryDirectory(prefix="balle-li-") as folder:
        path = Path(folder) / f"picture{codec.suffix}"
        start = time.perf_counter()
        codec.encode(image, quality, path)
        encoded = time.perf_counter()
        decoded = np.asarray(codec.decode(path))
        seconds = encoded - start, time.perf_counter() - encoded
        return decoded, path.stat().st_size, seconds


def _measure(
    reference: Reference, codec: ClassicalCodec, quality: float, class_weights: Mapping[str, float]
) -> Measurement:
    decoded, stream_bytes, seconds = round_trip(reference.pixels, codec, quality)
    setting = codec.setting(quality)
    return measure_decoded(reference, codec.name, setting, decoded, stream_bytes, seconds, class_weights)


def _read(path: Path, key: str) -> Measurement | None:
    """The record at `path`, or None when there is none or it is damaged."""
    try:
        record = read_json(path)
        if record["key"] != key:
            return None
        return Measurement.from_values(record["measurement"])
    except (BalleLiError, ArithmeticError, KeyError, TypeError, ValueError):
        return None
