"""Metadata files on disk: fetched once, in pieces if need be, and only ever seen whole.

A file is written to `<name>.part`, goes on from there after any interruption, is checked (its length, the MD5 that the
server states, its columns) and then renamed. `<name>.json` beside it records its URL, length and SHA-256.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balle_li.datasets.open_images import endpoints, transfer
from balle_li.datasets.open_images.retries import PATIENCE, Patience
from balle_li.errors import BalleLiError, DatasetError
from balle_li.files import read_json, sha256_file, write_json

TAIL_BYTES = 65536  # more than any row has


@dataclass(frozen=True)
class MetadataFile:
    """A whole metadata file on disk."""

    path: Path
    bytes: int
    sha256: str


def stage(path: str, folder: Path, columns: Sequence[str] = (), patience: Patience = PATIENCE) -> MetadataFile:
    """Have `folder/path` on disk, fetching it unless a whole copy from the same URL is there.

    With `columns`, the file must be a CSV file with these in its header and a last row that is complete.

    Raises DatasetError: the file cannot be had, or what was served is not what it should be.
    """
    target = folder / path
    url = endpoints.metadata_url(path)
    known = _recorded(target, url)
    if known is not None:
        return known
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    part = target.with_name(f"{target.name}.part")
    transfer.fetch(url, part, patience)
    if columns:
        try:
            _check_csv(part, columns, url)
        except DatasetError:
            transfer.discard(part)
            raise
    file = MetadataFile(target, part.stat().st_size, sha256_file(part))
    # The record goes first: killed between these two lines, the next run finds a whole part that it need not fetch again.
    write_json(_record_path(target), _record(file, url, part))
    os.replace(part, target)
    transfer.discard(part)
    return file


def discard(path: Path) -> None:
    """Forget a file that turned out to be damaged, so that the next run fetches it again."""
    path.unlink(missing_ok=True)
    _record_path(path).unlink(missing_ok=True)


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _record(file: MetadataFile, url: str, on_disk: Path) -> dict[str, Any]:
    return {"url": url, "bytes": file.bytes, "mtime_ns": on_disk.stat().st_mtime_ns, "sha256": file.sha256}


def _recorded(target: Path, url: str) -> MetadataFile | None:
    """The file on disk if it is the one recorded; its bytes are read again only when it was touched since."""
    record: dict[str, Any] = {}
    with contextlib.suppress(BalleLiError):
        record = read_json(_record_path(target))
    if record.get("url") != url or not target.is_file():
        return None
    stat = target.stat()
    if stat.st_size != record["bytes"]:
        return None
    if stat.st_mtime_ns != record["mtime_ns"] and sha256_file(target) != record["sha256"]:
        return None
    return MetadataFile(target, stat.st_size, record["sha256"])


def _check_csv(path: Path, columns: Sequence[str], url: str) -> None:
    """No field that matters here holds a comma or a line break in a file's last row, so that commas can be counted."""
    with open(path, "rb") as file:
        header = file.readline().decode(errors="replace").strip().split(",")
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        tail = file.read()
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatasetError(f"{url} served something else than the expected CSV file (it has no column {missing[0]})")
    last_row = tail.rstrip(b"\r\n").rsplit(b"\n", 1)[-1]
    if last_row.count(b",") < len(header) - 1:
        raise DatasetError(f"{url} is cut midway through a row on the server; try again later or use another mirror")
