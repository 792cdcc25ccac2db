"""The raw folder that every source fills: images/, index.parquet, ATTRIBUTION.md and report.json."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from balle_li.datasets.attribution import write_attribution
from balle_li.errors import DatasetError
from balle_li.files import atomic_path, read_json, sha256_file, write_json

ORIGINS_FILE = "origins.json"


def copy_picture(source: Path, target: Path) -> None:
    """Copy a file, unless `target` is a finished copy of it already.

    Always a copy, never a link: DVC changes the permissions of the files it takes charge of. Raises DatasetError:
    `source` cannot be read.
    """
    try:
        if _is_copy(source, target):
            return
        with atomic_path(target) as part:
            shutil.copyfile(source, part)
            stat = source.stat()
            os.utime(
                part, ns=(stat.st_atime_ns, stat.st_mtime_ns)
            )  # so that the next call sees at once that they are equal
    except (FileNotFoundError, PermissionError) as error:
        raise DatasetError(f"{error.filename or source} cannot be copied: {error.strerror}") from error


def _is_copy(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    here, there = source.stat(), target.stat()
    if here.st_size != there.st_size:
        return False
    return here.st_mtime_ns == there.st_mtime_ns or sha256_file(source) == sha256_file(target)


def write_origins(folder: Path, origins: Mapping[str, str]) -> None:
    """Keep the users' own paths of pictures, by their paths in `folder`."""
    write_json(folder / ORIGINS_FILE, origins)


def own_path(raw: Path) -> Callable[[str], str]:
    """A function that gives the user's own path for a picture's path in the folder `raw`; the latter where there is none."""
    origins = read_json(raw / ORIGINS_FILE) if (raw / ORIGINS_FILE).is_file() else {}
    return lambda path: str(origins.get(path, path))


def write_tables(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    preface: str,
    report: Mapping[str, Any],
    missing: Sequence[Mapping[str, str]],
) -> None:
    """Write the tables beside `folder/images`, and remove pictures there that no record names.

    `records` are rows of index.parquet, `preface` opens ATTRIBUTION.md, `missing` are {"picture", "reason"} of what was
    to come and did not; report.json holds `report`, `missing` and counts.
    """
    from balle_li.datasets.manifest import write_index

    named = {record["path"] for record in records}
    for file in (folder / "images").iterdir():
        if file.relative_to(folder).as_posix() not in named:
            file.unlink()
    boxes = Counter(box.label for record in records for box in record["boxes"])
    counts = {
        "pictures": len(records),
        "labelled_pictures": sum(bool(record["boxes"]) for record in records),
        "boxes": boxes.total(),
        "boxes_per_class": dict(boxes),
    }
    write_attribution(folder / "ATTRIBUTION.md", records, preface)
    write_json(folder / "report.json", {**report, **counts, "missing": list(missing)})
    write_index(folder / "index.parquet", records)  # last: where the index is, everything is
