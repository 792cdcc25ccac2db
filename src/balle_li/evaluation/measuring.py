"""One picture through the model under test and through the classical codecs, in whatever process that happens."""

import functools
import hashlib
import inspect
import tempfile
import time
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from balle_li.boxes import weighted
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions
from balle_li.config import HEADLINE_QUALITY
from balle_li.data.manifest import ManifestRow
from balle_li.errors import BalleLiError, DatasetError, StageError
from balle_li.evaluation.codecs import CODECS, codec
from balle_li.evaluation.measurements import (
    HEADLINE,
    OTHER_QUALITY,
    WITH_BOXES,
    Reference,
    measure_classical,
    measure_decoded,
)
from balle_li.evaluation.metrics import METRICS
from balle_li.evaluation.test_set import read_reference
from balle_li.files import read_json, sha256_file, write_bytes


@dataclass
class Measured:
    """What became of one picture: rows of the table by codec, and the stream of the headline.

    left_out: why a codec cannot take the picture; under "" where the picture cannot be read.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stream: bytes = b""
    left_out: dict[str, str] = field(default_factory=dict)


class ModelUnderTest:
    """The codec under test and what its folder says of it.

    Raises BalleLiError: the model is damaged or the device is not there.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.codec = Codec.load(folder, device)
        steps = read_json(folder / "model.json").get("training", {}).get("steps", 0)
        self.name, self.setting = self.codec.name, self.codec.setting
        self.lmbda = float(self.codec.trained_for["lmbda"])
        self.steps = steps if isinstance(steps, int) else 0
        self._warm = False

    @property
    def on_gpu(self) -> bool:
        """Whether its transforms run on a GPU, which one process uses."""
        return self.codec.transforms.device.type != "cpu"

    def measure(
        self, reference: Reference, qualities: tuple[float, ...], metrics: tuple[str, ...]
    ) -> tuple[list[dict[str, Any]], bytes]:
        """Send a picture through files at each of `qualities`, HEADLINE_QUALITY among them, and with its boxes if it has any.

        Returns the rows and the headline's stream. A model of one rate has the headline alone.
        """
        if not self._warm:  # the first call sets up kernels and caches that later ones find
            self.codec.decompress(self.codec.compress(Image.fromarray(reference.pixels)))
            self._warm = True
        if not self.codec.variable_rate:
            row, stream = self._trip(reference, (self.name, self.setting, HEADLINE), metrics, EncodeOptions())
            return [row], stream
        rows, headline = [], b""
        for quality in qualities:
            kind = HEADLINE if quality == HEADLINE_QUALITY else OTHER_QUALITY
            names = self.name, f"{self.setting}, quality {quality:g}", kind
            row, stream = self._trip(reference, names, metrics, EncodeOptions(quality=quality))
            rows.append(row)
            if kind == HEADLINE:
                headline = stream
        if reference.boxes:
            boxes = weighted(reference.boxes, reference.class_weights)
            options = EncodeOptions(boxes=boxes, target_bytes=len(headline))
            setting = f"{self.setting}, quality {HEADLINE_QUALITY:g}, boxes at equal size"
            names = f"{self.name} {WITH_BOXES}", setting, WITH_BOXES
            rows.append(self._trip(reference, names, metrics, options)[0])
        return rows, headline

    def _trip(
        self, reference: Reference, names: tuple[str, str, str], metrics: tuple[str, ...], options: EncodeOptions
    ) -> tuple[dict[str, Any], bytes]:
        """Compress to a file, read it back, decompress, and compare."""
        image = Image.fromarray(reference.pixels)
        start = time.perf_counter()
        stream = self.codec.compress(image, options)
        encode_seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory(prefix="balle-li-") as folder:
            path = Path(folder) / "picture.bli"
            write_bytes(path, stream)
            stream = path.read_bytes()
        start = time.perf_counter()
        decoded = np.asarray(self.codec.decompress(stream).convert("RGB"))
        seconds = encode_seconds, time.perf_counter() - start
        return measure_decoded(reference, names, decoded, len(stream), seconds, metrics), stream


@dataclass(frozen=True)
class Plan:
    """What is measured of a picture; it travels to worker processes.

    model: the model's folder, None to leave the model out. classical: qualities by codec. threads: those that the model
    may use, None for all.
    """

    root: Path
    class_weights: Mapping[str, float]
    metrics: tuple[str, ...]
    model: Path | None
    name: str
    digest: str
    device: str
    qualities: tuple[float, ...]
    classical: Mapping[str, tuple[float, ...]]
    threads: int | None = None

    @property
    def names(self) -> list[str]:
        """The codecs that it measures."""
        return [*([self.name] if self.model else []), *self.classical]

    def only(self, names: list[str]) -> "Plan":
        """The same for some of its codecs."""
        classical = {name: qualities for name, qualities in self.classical.items() if name in names}
        return replace(self, model=self.model if self.name in names else None, classical=classical)

    def key(self, name: str, row: ManifestRow) -> tuple[Any, ...]:
        """What the values of a picture by one of the codecs depend on."""
        boxes = [(box.xmin, box.ymin, box.xmax, box.ymax, box.label) for box in row["boxes"]]
        picture = row["sha256"], row["rotation"], boxes, sorted(self.class_weights.items())
        metrics = [(metric, _source(METRICS.get(metric))) for metric in self.metrics]
        if name in self.classical:
            how: tuple[Any, ...] = self.classical[name], codec(name).library(), _source(CODECS.get(name))
        else:
            how = self.digest, self.device, self.qualities
        return name, picture, metrics, how


def measure_picture(plan: Plan, row: ManifestRow) -> Measured:
    """All that `plan` asks for; a codec that cannot take the picture, for whatever reason, is left out for it."""
    try:
        reference = read_reference(plan.root, row, plan.class_weights)
    except (DatasetError, OSError) as error:
        return Measured(left_out={"": str(error)})
    found = Measured()
    if plan.model is not None:
        try:
            model = model_of(plan.model, plan.digest, plan.device, plan.threads)
            found.rows[plan.name], found.stream = model.measure(reference, plan.qualities, plan.metrics)
        except Exception as error:  # one picture does not end the evaluation of the others
            found.left_out[plan.name] = reason_of(error)
    for name, qualities in plan.classical.items():
        try:
            found.rows[name] = measure_classical(reference, codec(name), qualities, plan.metrics)
        except Exception as error:  # nor does one codec, or a metric
            found.left_out[name] = reason_of(error)
    return found


def digest_of(folder: Path) -> str:
    """A hash of a model's files. Raises StageError when there is no model yet."""
    if not (folder / "model.json").is_file():
        raise StageError(f"{folder} holds no model; run `kedro run --pipeline train` first")
    files = [sha256_file(file) for file in (folder / "model.json", folder / "model.safetensors") if file.is_file()]
    return hashlib.sha256("".join(files).encode()).hexdigest()


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BalleLiError) else f"{type(error).__name__}: {text}".removesuffix(": ")


@functools.lru_cache(maxsize=1)
def model_of(folder: Path, digest: str, device: str, threads: int | None) -> ModelUnderTest:
    """The model in `folder`, loaded once in a process while it has the `digest`."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return ModelUnderTest(folder, device)


@functools.cache
def _source(cls: type) -> str:
    """A hash of the text of a class and its bases: what an edited metric or codec measured before does not count."""
    try:
        text = "".join(inspect.getsource(base) for base in cls.__mro__ if base not in (ABC, object))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
