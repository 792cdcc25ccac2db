"""One picture through the model under test, its baselines and the classical codecs, in whatever process that happens."""

import functools
import hashlib
import inspect
import tempfile
import time
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from balle_li.boxes import weighted
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions
from balle_li.config import HEADLINE_QUALITY
from balle_li.data.manifest import ManifestRow
from balle_li.errors import BalleLiError, DatasetError, StageError, in_one_line
from balle_li.evaluation.codecs import CODECS, codec
from balle_li.evaluation.measurements import (
    BASELINE,
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

MODELS_KEPT = 16
"""Models that a process keeps loaded: more than anybody holds against one another, since each is used for every picture."""
PROGRAM = ("codec", "latents", "models", "quality_map.py", "tiling.py")
"""What of the package decides a model's files and pictures, besides its weights."""


@dataclass
class Measured:
    """What became of one picture: rows of the table by codec, and the stream of the headline.

    left_out: why a codec cannot take the picture; under "" where the picture cannot be read.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stream: bytes = b""
    left_out: dict[str, str] = field(default_factory=dict)


class ModelUnderTest:
    """A learned codec and what its folder says of it.

    Raises BalleLiError: the model is damaged or the device is not there.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.codec = Codec.load(folder, device)
        steps = read_json(folder / "model.json").get("training", {}).get("steps", 0)
        self.name, self.setting = self.codec.name, self.codec.setting
        self.trained_for = self.codec.trained_for
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
        rows, headline = [], b""
        for quality in self._sweep(reference, qualities):
            kind = HEADLINE if quality in (None, HEADLINE_QUALITY) else OTHER_QUALITY
            row, stream = self._trip(
                reference, (self.name, self._at(quality), kind), metrics, EncodeOptions(quality=quality)
            )
            rows.append(row)
            if kind == HEADLINE:
                headline = stream
        if reference.boxes and self.codec.variable_rate:
            boxes = weighted(reference.boxes, reference.class_weights)
            options = EncodeOptions(boxes=boxes, target_bytes=len(headline))
            setting = f"{self.setting}, quality {HEADLINE_QUALITY:g}, boxes at equal size"
            names = f"{self.name} {WITH_BOXES}", setting, WITH_BOXES
            rows.append(self._trip(reference, names, metrics, options)[0])
        return rows, headline

    def measure_as_baseline(
        self, name: str, reference: Reference, qualities: tuple[float, ...], metrics: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """The rows of a model that another one is held against, under `name`; boxes do not count."""
        return [
            self._trip(reference, (name, self._at(quality), BASELINE), metrics, EncodeOptions(quality=quality))[0]
            for quality in self._sweep(reference, qualities)
        ]

    def _sweep(self, reference: Reference, qualities: tuple[float, ...]) -> tuple[float | None, ...]:
        """The qualities that it has; None stands for the only rate. The first call sets up kernels and caches for later ones."""
        if not self._warm:
            self.codec.decompress(self.codec.compress(Image.fromarray(reference.pixels)))
            self._warm = True
        return qualities if self.codec.variable_rate else (None,)

    def _at(self, quality: float | None) -> str:
        return self.setting if quality is None else f"{self.setting}, quality {quality:g}"

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
class Tested:
    """A model to be measured: the folder, a hash of its files, and whether it is a baseline."""

    folder: Path
    digest: str
    baseline: bool = False

    @classmethod
    def of(cls, folder: Path, baseline: bool = False) -> "Tested":
        """Raises StageError when there is no model in the folder yet."""
        if not (folder / "model.json").is_file():
            raise StageError(f"{folder} holds no model; run `kedro run --pipeline train` first")
        files = [sha256_file(file) for file in (folder / "model.json", folder / "model.safetensors") if file.is_file()]
        return cls(folder.resolve(), hashlib.sha256("".join(files).encode()).hexdigest(), baseline)


@dataclass(frozen=True)
class Plan:
    """What is measured of a picture; it travels to worker processes.

    models: by the names of their rows. classical: qualities by codec. threads: those that a model may use, None for all.
    """

    root: Path
    class_weights: Mapping[str, float]
    metrics: tuple[str, ...]
    models: Mapping[str, Tested]
    device: str
    qualities: tuple[float, ...]
    classical: Mapping[str, tuple[float, ...]]
    threads: int | None = None

    @property
    def names(self) -> list[str]:
        """The codecs that it measures."""
        return [*self.models, *self.classical]

    @property
    def files(self) -> int:
        """How many are written of a picture, about."""
        return len(self.models) * len(self.qualities) + sum(map(len, self.classical.values()))

    def only(self, names: list[str]) -> "Plan":
        """The same for some of its codecs."""
        models = {name: tested for name, tested in self.models.items() if name in names}
        return replace(self, models=models, classical={n: q for n, q in self.classical.items() if n in names})

    def key(self, name: str, row: ManifestRow) -> tuple[Any, ...]:
        """What the values of a picture by one of the codecs depend on."""
        boxes = [(box.xmin, box.ymin, box.xmax, box.ymax, box.label) for box in row["boxes"]]
        picture = row["sha256"], row["rotation"], boxes, sorted(self.class_weights.items())
        metrics = [(metric, _source(METRICS.get(metric))) for metric in self.metrics]
        if name in self.classical:
            how: tuple[Any, ...] = self.classical[name], codec(name).library(), _source(CODECS.get(name))
        else:
            how = self.models[name].digest, self.models[name].baseline, self.device, self.qualities, program()
        return name, picture, metrics, how


def measure_picture(plan: Plan, row: ManifestRow) -> Measured:
    """All that `plan` asks for; a codec that cannot take the picture, for whatever reason, is left out for it."""
    try:
        reference = read_reference(plan.root, row, plan.class_weights)
    except (DatasetError, OSError) as error:
        return Measured(left_out={"": str(error)})
    found = Measured()
    for name, tested in plan.models.items():
        try:
            model = model_of(tested, plan.device, plan.threads)
            if tested.baseline:
                found.rows[name] = model.measure_as_baseline(name, reference, plan.qualities, plan.metrics)
            else:
                found.rows[name], found.stream = model.measure(reference, plan.qualities, plan.metrics)
        except Exception as error:  # one picture does not end the evaluation of the others
            found.left_out[name] = reason_of(error)
    for name, qualities in plan.classical.items():
        try:
            found.rows[name] = measure_classical(reference, codec(name), qualities, plan.metrics)
        except Exception as error:  # nor does one codec, or a metric
            found.left_out[name] = reason_of(error)
    return found


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = in_one_line(error)
    return text if isinstance(error, BalleLiError) else f"{type(error).__name__}: {text}"


@functools.lru_cache(maxsize=MODELS_KEPT)
def model_of(tested: Tested, device: str, threads: int | None) -> ModelUnderTest:
    """The model, loaded once in a process while its files are the same."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return ModelUnderTest(tested.folder, device)


@functools.cache
def program() -> str:
    """A hash of the code that runs models, and the version of torch: what other code measured does not count."""
    package, digest = Path(__file__).parents[1], hashlib.sha256(version("torch").encode())
    for part in PROGRAM:
        place = package / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _source(cls: type) -> str:
    """A hash of the text of a class and its bases: what an edited metric or codec measured before does not count."""
    try:
        text = "".join(inspect.getsource(base) for base in cls.__mro__ if base not in (ABC, object))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
