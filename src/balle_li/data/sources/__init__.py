"""Where pictures come from: each source is a file of this folder, or a class that another package offers.

A source is a class. Its constructor takes the source's own section of params.yaml, `dataset.<name>` with _ for -, as
keyword arguments; its `download` fills the raw folder (images/, index.parquet, ATTRIBUTION.md and report.json), most simply
with `copy_picture` and `write_tables`.
"""

import functools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from balle_li.config import DatasetConfig
from balle_li.errors import ConfigError, DatasetError
from balle_li.files import atomic_path, sha256_file, write_bytes, write_json
from balle_li.registry import SOURCES

UNKNOWN = "unknown"

_Class = TypeVar("_Class", bound=type)


class Source(Protocol):
    """What a source can do."""

    def download(self, folder: Path, seed: int, max_missing: float) -> None:
        """Bring pictures to `folder/images` and write index.parquet, report.json and ATTRIBUTION.md beside them.

        Pictures that an earlier, interrupted call left in `folder` may be used again. seed: decides what is random.
        max_missing: the fraction of the chosen pictures, in [0, 1], that may be missing. Raises DatasetError: pictures
        or labels are missing or not what was asked for.
        """


def register_source(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: `dataset.source: name` stands for the class."""
    return functools.partial(SOURCES.add, name)


def build(config: DatasetConfig) -> Source:
    """The source that `config` names, with the arguments of its section.

    Raises ConfigError: another package's source cannot be imported, or an argument is unknown, missing or of the wrong
    type.
    """
    section = config.source.replace("-", "_")
    own = getattr(config, section, None)
    values = vars(own) if own is not None else config.others.get(section) or {}
    if not SOURCES.is_own(config.source):
        try:
            values = SOURCES.arguments(config.source, values, f"dataset.{section}")
        except ConfigError as error:
            raise ConfigError(f"params.yaml: {error}") from None
    source: Source = SOURCES.get(config.source)(**values)
    return source


def download(config: DatasetConfig, seed: int, folder: Path) -> None:
    """Bring the chosen source's pictures to `folder`; see `Source.download`. Only its own module is imported."""
    build(config).download(folder, seed, config.max_missing)


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
            os.utime(part, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the next call sees at once that they are equal
    except OSError as error:
        raise DatasetError(f"{error.filename or source} cannot be copied: {error.strerror}") from error


def _is_copy(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    here, there = source.stat(), target.stat()
    if here.st_size != there.st_size:
        return False
    return here.st_mtime_ns == there.st_mtime_ns or sha256_file(source) == sha256_file(target)


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
    from balle_li.data.manifest import write_index

    named = {record["path"] for record in records}
    (folder / "images").mkdir(parents=True, exist_ok=True)
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


def write_attribution(path: Path, records: Sequence[Mapping[str, Any]], preface: str) -> None:
    """Write a Markdown table of `records` (rows of index.parquet) to `path`, in order of image_id.

    `preface` is a paragraph about the pictures as a whole, such as where their labels come from.
    """
    lines = [
        "# Attribution",
        "",
        preface,
        "",
        "| picture | title | author | licence | source |",
        "|---|---|---|---|---|",
    ]
    for record in sorted(records, key=lambda record: record["image_id"]):
        cells = (
            record["image_id"],
            record.get("title") or "",
            record.get("author") or UNKNOWN,
            record.get("licence") or UNKNOWN,
            record.get("source_url") or "",
        )
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _cell(text: str) -> str:
    """One line of text in which nothing can end the table's cell."""
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|")
