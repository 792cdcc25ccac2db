"""The pictures that models are measured on: the manifest's test split and other folders, read one at a time."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.datasets.manifest import ManifestRow, read_manifest
from balle_li.datasets.pictures import read_picture, upright_size
from balle_li.errors import BalleLiError, ConfigError, StageError
from balle_li.evaluation.config import TEST_SET
from balle_li.evaluation.measurement import Reference
from balle_li.files import project_home, sha256_file


@dataclass(frozen=True)
class PictureSet:
    """Pictures by image_id; the paths of `rows` are relative to `root`."""

    name: str
    root: Path
    rows: list[ManifestRow]

    @classmethod
    def test_split(cls, raw: Path, curated: Path) -> "PictureSet":
        """The pictures of the split test. Raises StageError when there are none."""
        return cls(TEST_SET, raw, read_rows(curated))

    @classmethod
    def folder(cls, name: str, path: str) -> "PictureSet":
        """Every picture below a folder, without labels; a relative path starts at the checkout.

        Raises ConfigError: the folder is missing or holds no pictures. DatasetError: a file is no whole picture.
        """
        where = f"params.yaml: evaluate.extra_sets.{name}: {path}"
        root = project_home() / Path(path).expanduser()
        if not root.is_dir():
            raise ConfigError(f"{where} is not a folder; correct it, or take it out")
        suffixes = {*Image.registered_extensions(), ".heic", ".heif"}
        files = sorted(file for file in root.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
        if not files:
            raise ConfigError(f"{where} holds no pictures; correct it, or take it out")
        return cls(name, root, sorted((_row(root, file) for file in files), key=lambda row: row["image_id"]))

    @property
    def place(self) -> Path:
        """Where its report lies in that of the whole evaluation."""
        return Path() if self.name == TEST_SET else Path("sets") / self.name

    @property
    def digest(self) -> str:
        """A hash that is equal for equal pictures, whatever their order and boxes."""
        return digest(self.rows)

    def read(self, row: ManifestRow) -> Reference:
        """Read one of the pictures. Raises DatasetError naming the file when it cannot be read."""
        return read_reference(self.root, row)


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


def _row(root: Path, file: Path) -> ManifestRow:
    relative = file.relative_to(root)
    width, height = upright_size(file)
    return {
        "image_id": "-".join(relative.parts).replace(".", "_"),
        "path": relative.as_posix(),
        "width": width,
        "height": height,
        "rotation": 0.0,
        "split": TEST_SET,
        "sha256": sha256_file(file),
        "licence": None,
        "author": None,
        "source_url": None,
        "boxes": [],
    }
