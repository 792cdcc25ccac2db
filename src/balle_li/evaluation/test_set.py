"""The pictures that models are measured on: the manifest's test split, read one at a time."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from balle_li.datasets.manifest import ManifestRow, read_manifest
from balle_li.datasets.pictures import read_picture
from balle_li.errors import BalleLiError, StageError
from balle_li.evaluation.measurement import Reference


def read_rows(curated: Path) -> list[ManifestRow]:
    """The rows of the test split, by image_id. Raises StageError when there are none."""
    rows = [row for row in read_manifest(curated / "manifest.parquet") if row["split"] == "test"]
    if not rows:
        raise StageError(f"{curated}: no picture is in the test split; raise curate.split.test or bring more pictures")
    return rows


def digest(rows: list[ManifestRow]) -> str:
    """A hash that is equal for equal test pictures, whatever their order and boxes."""
    pictures = sorted((row["image_id"], row["sha256"], row["rotation"]) for row in rows)
    return hashlib.sha256(repr(pictures).encode()).hexdigest()[:16]


def read_reference(raw: Path, row: ManifestRow) -> Reference:
    """Read a picture of the manifest. Raises DatasetError naming the file when it cannot be read."""
    path = raw / row["path"]
    pixels = np.asarray(read_picture(path, row["rotation"]))
    return Reference(row["image_id"], pixels, tuple(row["boxes"]), path.stat().st_size)


@contextmanager
def naming(row: ManifestRow) -> Iterator[None]:
    """Let a failure say which picture it happened to."""
    try:
        yield
    except BalleLiError as error:
        raise StageError(f"evaluating picture {row['image_id']}: {error}") from error
    except Exception as error:
        error.add_note(f"while evaluating picture {row['image_id']} ({row['path']})")
        raise
