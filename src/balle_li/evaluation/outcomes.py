"""An evaluation picture by picture: what the model made of each, decoded from its stream, and where its bits went."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.data.fiftyone_view import FIGURES, Outcome, as_shown
from balle_li.data.manifest import ManifestRow
from balle_li.errors import BalleLiError, StageError
from balle_li.evaluation import test_set
from balle_li.evaluation.measurements import HEADLINE, MEASUREMENTS_FILE, OTHER_QUALITY, read_measurements
from balle_li.files import atomic_path, sha256_file
from balle_li.image_io import exif_orientation
from balle_li.progress import progress

LARGEST_MAP = 256
"""Pixels of a map's longer side: enough to see every latent."""


@dataclass(frozen=True)
class Evaluation:
    """The evaluate stage's folder and the model that it measured.

    name: the model, and the run if one is named. records: the model's rows of `measurements.parquet`, by image_id.
    """

    folder: Path
    codec: Codec
    name: str
    records: dict[str, list[dict[Any, Any]]]

    @classmethod
    def load(cls, folder: Path, model: Path, run: str = "", device: str = "auto") -> "Evaluation":
        """Raises StageError: nothing was evaluated, or another model than this; BalleLiError: the model is damaged."""
        codec = Codec.load(model, device)
        if not (folder / MEASUREMENTS_FILE).is_file():
            raise StageError(f"{folder} holds no evaluation; run `kedro run --pipeline evaluate` first")
        frame = read_measurements(folder / MEASUREMENTS_FILE)
        own = frame[(frame["codec"] == codec.name) & frame["kind"].isin([HEADLINE, OTHER_QUALITY])]
        records: dict[str, list[dict[Any, Any]]] = {
            str(image_id): rows.to_dict("records") for image_id, rows in own.groupby("image_id")
        }
        if not records:
            raise StageError(f"{folder} was not made with {model}; run `kedro run --pipeline evaluate` again")
        return cls(folder, codec, f"{codec.name} ({codec.setting}{f', {run}' if run else ''})", records)

    def key(self) -> str:
        """A hash of the measurements and of the model: other results have another."""
        table = sha256_file(self.folder / MEASUREMENTS_FILE)
        return hashlib.sha256(f"{table} {self.codec.fingerprint.hex()}".encode()).hexdigest()[:16]

    def outcomes(self, raw: Path, curated: Path, pictures: Path) -> Iterator[Outcome]:
        """Decode every stream into the folder `pictures`, as PNG; where the streams were not kept, they are made again.

        Raises StageError naming the picture: a stream is damaged or another model's, or its original has disappeared.
        """
        rows = [row for row in test_set.read_rows(curated) if row["image_id"] in self.records]
        with progress("Decoding for FiftyOne", len(rows), "pictures") as advance:
            for row in rows:
                try:
                    yield self._outcome(raw, row, pictures)
                except BalleLiError as error:
                    raise StageError(f"decoding picture {row['image_id']}: {error}") from error
                advance(1)

    def _outcome(self, raw: Path, row: ManifestRow, pictures: Path) -> Outcome:
        image_id, rotation = row["image_id"], row["rotation"]
        reference = test_set.read_reference(raw, row)
        orientation = exif_orientation(raw / row["path"])
        kept = self.folder / "streams" / f"{image_id}.bli"
        stream = kept.read_bytes() if kept.is_file() else self.codec.compress(Image.fromarray(reference.pixels))
        decoded = self.codec.decompress(stream)
        path = pictures / f"{image_id}.png"
        with atomic_path(path) as part:
            Image.fromarray(as_shown(np.asarray(decoded.convert("RGB")), orientation, rotation)).save(part, "PNG")
        analysis = self.codec.analyse(Image.fromarray(reference.pixels))
        maps = {"bits": analysis.bits / self.codec.downsampling**2}
        if analysis.importance is not None:
            maps["importance"] = analysis.importance
        height, width = reference.pixels.shape[:2]
        shown = {
            name: as_shown(_over_picture(values, height, width, self.codec.downsampling), orientation, rotation)
            for name, values in maps.items()
        }
        # A variable-rate model was measured at several rates, the stream has one of them.
        record = min(self.records[image_id], key=lambda record: abs(record["stream_bytes"] - len(stream)))
        values = {
            name: record[name] if record.get(name) == record.get(name) else None for name in FIGURES if name in record
        }
        return Outcome(image_id, values, path, shown)


def _over_picture(values: NDArray[np.float32], height: int, width: int, step: int) -> NDArray[np.float32]:
    """A map of latents, `step` pixels apart, cut to the picture, beyond whose lower and right edge the latents reach."""
    scale = min(1.0, LARGEST_MAP / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    box = (0, 0, width / step, height / step)
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.NEAREST, box=box))
