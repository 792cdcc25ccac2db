"""The model under test: one picture through its codec, at every setting that is measured."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.boxes import weighted
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions
from balle_li.errors import StageError
from balle_li.evaluation.config import HEADLINE_QUALITY
from balle_li.evaluation.measurement import Measurement, Reference, measure_decoded
from balle_li.files import read_json, sha256_file, write_bytes

WITH_BOXES = " with boxes"
"""Ends the codec's name in measurements of streams that were given the boxes."""


@dataclass(frozen=True)
class PictureResult:
    """What became of one picture. `curve` has a measurement per quality, one for models of one rate.

    with_boxes: given its boxes, in a file no larger than the headline's; None where there is no box or a single rate.
    """

    headline: Measurement
    curve: tuple[Measurement, ...]
    with_boxes: Measurement | None


@dataclass(frozen=True)
class ModelUnderTest:
    """The codec under test and what its folder says of it."""

    codec: Codec
    name: str
    lmbda: float
    steps: int
    setting: str
    digest: str
    """A hash of the model's files."""

    @classmethod
    def load(cls, folder: Path, device: str) -> "ModelUnderTest":
        """Raises StageError when there is no model yet, BalleLiError when it is damaged or the device is not there."""
        if not (folder / "model.json").is_file():
            raise StageError(f"{folder} holds no model; run `kedro run --pipeline train` first")
        description = read_json(folder / "model.json")
        codec = Codec.load(folder, device)
        steps = description.get("training", {}).get("steps", 0)
        files = [sha256_file(folder / name) for name in ("model.json", "model.safetensors")]
        return cls(
            codec=codec,
            name=codec.name,
            lmbda=codec.trained_for["lmbda"],
            steps=steps if isinstance(steps, int) else 0,
            setting=codec.setting,
            digest=hashlib.sha256("".join(files).encode()).hexdigest(),
        )

    def measure(
        self, reference: Reference, qualities: list[float], class_weights: Mapping[str, float], stream: Path
    ) -> PictureResult:
        """Send a picture through files at each of `qualities`, of which one is the headline's, whose file is `stream`.

        A model of one rate has the headline alone.
        """
        if not self.codec.variable_rate:
            headline = self._trip(reference, self.name, self.setting, class_weights, stream, EncodeOptions())
            return PictureResult(headline, (headline,), None)
        aside = stream.with_suffix(".aside")
        curve = []
        for quality in qualities:
            path = stream if quality == HEADLINE_QUALITY else aside
            setting = f"{self.setting}, quality {quality:g}"
            options = EncodeOptions(quality=quality)
            curve.append(self._trip(reference, self.name, setting, class_weights, path, options))
        headline = curve[qualities.index(HEADLINE_QUALITY)]
        with_boxes = self._with_boxes(reference, headline, class_weights, aside) if reference.boxes else None
        aside.unlink(missing_ok=True)
        return PictureResult(headline, tuple(curve), with_boxes)

    def _with_boxes(
        self, reference: Reference, headline: Measurement, class_weights: Mapping[str, float], path: Path
    ) -> Measurement:
        options = EncodeOptions(boxes=weighted(reference.boxes, class_weights), target_bytes=headline.stream_bytes)
        name, setting = self.name + WITH_BOXES, f"{headline.setting}, boxes at equal size"
        return self._trip(reference, name, setting, class_weights, path, options)

    def _trip(
        self,
        reference: Reference,
        name: str,
        setting: str,
        weights: Mapping[str, float],
        path: Path,
        options: EncodeOptions,
    ) -> Measurement:
        """Compress to `path`, read the file back, decompress, and compare."""
        image = Image.fromarray(reference.pixels)
        start = time.perf_counter()
        stream = self.codec.compress(image, options)
        encode_seconds = time.perf_counter() - start
        write_bytes(path, stream)
        stream = path.read_bytes()
        start = time.perf_counter()
        decoded = self.codec.decompress(stream)
        seconds = encode_seconds, time.perf_counter() - start
        return measure_decoded(
            reference, name, setting, np.asarray(decoded.convert("RGB")), len(stream), seconds, weights
        )

    def warm_up(self, reference: Reference) -> None:
        """Let the first call set up the kernels and caches that later ones find."""
        self.codec.decompress(self.codec.compress(Image.fromarray(reference.pixels)))
