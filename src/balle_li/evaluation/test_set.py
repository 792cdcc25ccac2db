"""The pictures that models are measured on: the manifest's test split and other folders, read one at a time."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.config import TEST_SET
from balle_li.data.manifest import ManifestRow, check_unchanged, read_manifest
from balle_li.errors import ConfigError, DatasetError, StageError
from balle_li.evaluation.measurements import Reference
from balle_li.evaluation.published import recognised
from balle_li.files import files_below, named_path, sha256_file
from balle_li.image_io import read_picture, upright_size

LONGEST_ID = 120
"""Bytes of an image_id made from a file's name: streams and examples are named by it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureSet:
    """Pictures by image_id; the paths of `rows` are relative to `root`. `skipped`: what else a folder holds, by reason."""

    name: str
    root: Path
    rows: list[ManifestRow]
    skipped: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def test_split(cls, raw: Path, curated: Path) -> "PictureSet":
        """The pictures of the split test. Raises StageError when there are none."""
        return cls(TEST_SET, raw, read_rows(curated))

    @classmethod
    def folder(cls, name: str, path: str) -> "PictureSet":
        """Every picture below a folder, without labels; a relative path starts at the checkout.

        Links are followed. Hidden files and folders (a Mac leaves `._photo.jpg` beside `photo.jpg`), other kinds of files,
        and pictures and folders that cannot be opened are skipped, and a warning counts them. Raises ConfigError: the
        folder is missing or holds no pictures.
        """
        where = f"params.yaml: evaluate.extra_sets.{name}: {path}"
        root = named_path(path)
        if not root.is_dir():
            raise ConfigError(f"{where} is not a folder; correct it, or take it out")
        suffixes = {*Image.registered_extensions(), ".heic", ".heif"}
        rows: list[ManifestRow] = []
        skipped: dict[str, list[str]] = {}

        def enters(name: str) -> bool:
            if name.startswith("."):
                skipped.setdefault("hidden", []).append(_readable(Path(name)))
            return not name.startswith(".")

        def refused(error: OSError) -> None:
            place = _readable(Path(os.fsdecode(error.filename)).relative_to(root))
            skipped.setdefault("unreadable folder", []).append(f"{place}: {error.strerror}")

        for file in sorted(files_below(root, enters, refused)):
            relative = file.relative_to(root)
            if file.name.startswith("."):
                skipped.setdefault("hidden", []).append(_readable(relative))
            elif file.suffix.lower() not in suffixes or not file.is_file():
                skipped.setdefault("no picture", []).append(_readable(relative))
            else:
                try:
                    rows.append(_row(root, relative))
                except DatasetError as error:
                    skipped.setdefault("unreadable", []).append(str(error).replace(str(file), _readable(relative)))
        if skipped:
            told = "; ".join(
                f"{len(files)} {reason} ({files[0]}{', …' * (len(files) > 1)})" for reason, files in skipped.items()
            )
            logger.warning("evaluate.extra_sets.%s: files and folders are skipped: %s", name, told)
        if not rows:
            raise ConfigError(f"{where} holds no pictures; correct it, or take it out")
        return cls(name, root, sorted(_told_apart(rows), key=lambda row: row["image_id"]), skipped)

    @property
    def place(self) -> Path:
        """Where its results lie in the folder of the whole evaluation."""
        return Path() if self.name == TEST_SET else Path("sets") / self.name


def read_rows(curated: Path) -> list[ManifestRow]:
    """The rows of the test split, by image_id. Raises StageError when there are none."""
    rows = [row for row in read_manifest(curated / "manifest.parquet") if row["split"] == "test"]
    if not rows:
        raise StageError(f"{curated}: no picture is in the test split; raise curate.split.test or bring more pictures")
    return rows


def digest(rows: Sequence[ManifestRow]) -> str:
    """A hash that is equal for equal test pictures, whatever their order and boxes."""
    pictures = sorted((row["image_id"], row["sha256"], row["rotation"]) for row in rows)
    return hashlib.sha256(repr(pictures).encode()).hexdigest()[:16]


def known_as(pictures: PictureSet) -> str | None:
    """The name that published curves have for these pictures, such as `kodak`; None where there are none.

    Where one cannot be read it is None too: the evaluation has said which.
    """
    root, rows = pictures.root, pictures.rows
    try:
        return recognised(len(rows), (np.asarray(read_picture(root / row["path"], row["rotation"])) for row in rows))
    except (DatasetError, OSError):
        return None


def read_reference(root: Path, row: ManifestRow, class_weights: Mapping[str, float] | None = None) -> Reference:
    """Read a picture of the manifest. Raises DatasetError naming the file: it cannot be read, or changed since curate."""
    path = root / row["path"]
    pixels = np.asarray(read_picture(path, row["rotation"]))
    check_unchanged(path, row)  # what is measured is kept under the hash of the row
    return Reference(row["image_id"], pixels, path.stat().st_size, tuple(row["boxes"]), class_weights or {})


def _row(root: Path, relative: Path) -> ManifestRow:
    width, height = upright_size(root / relative)
    name = "-".join(_readable(relative).split("/")).replace(".", "_")
    if len(name.encode()) > LONGEST_ID:
        start = name.encode()[: LONGEST_ID - 9].decode(errors="ignore")  # a letter may be cut in two
        name = f"{start}-{_hash_of(relative.as_posix())}"
    return {
        "image_id": name,
        "path": relative.as_posix(),
        "width": width,
        "height": height,
        "rotation": 0.0,
        "split": TEST_SET,
        "sha256": sha256_file(root / relative),
        "licence": None,
        "author": None,
        "source_url": None,
        "boxes": [],
    }


def _told_apart(rows: list[ManifestRow]) -> Iterator[ManifestRow]:
    """`a/b.png` and `a-b.png` have one name; a hash of their paths tells them apart."""
    counts = Counter(row["image_id"] for row in rows)
    for row in rows:
        if counts[row["image_id"]] > 1:
            row["image_id"] += f"-{_hash_of(row['path'])}"
        yield row


def _hash_of(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def _readable(path: Path) -> str:
    """The path with forward slashes; bytes that are no UTF-8, which tables cannot hold, as escapes."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")
