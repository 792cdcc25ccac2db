"""Which pictures: those with a box of a chosen class and an accepted licence, in an order that the seed alone decides."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from balle_li.datasets.open_images.tables import PICTURE_COLUMNS, rows_with, stream
from balle_li.files import hash_fraction


@dataclass(frozen=True)
class Tables:
    """The two large metadata files of a split."""

    boxes: Path
    pictures: Path


@dataclass(frozen=True)
class Selection:
    """The chosen pictures: sorted ImageIDs by split, and how many there were to choose from."""

    ids: dict[str, list[str]]
    found: int

    def __len__(self) -> int:
        return sum(map(len, self.ids.values()))


def select(
    tables: Mapping[str, Tables], mids: Collection[str] | None, licences: Collection[str], count: int, seed: int
) -> Selection:
    """Choose `count` pictures of all splits of `tables` together, or all there are if these are fewer.

    A picture may be chosen when it has a box of one of `mids` (None: any box) and, with `licences`, when its licence's
    URL is one of them. Those with the smallest SHA-256 of `seed:ImageID` are: the choice does not depend on the order
    of rows, splits or classes, and a larger `count` adds to a smaller one's pictures.
    """
    found = {
        split: _with_licence(files.pictures, _with_class(files.boxes, mids), licences)
        for split, files in tables.items()
    }
    drawn = ((hash_fraction(seed, image_id), image_id, split) for split, ids in found.items() for image_id in ids)
    chosen: dict[str, list[str]] = {split: [] for split in tables}
    for _, image_id, split in heapq.nsmallest(count, drawn):
        chosen[split].append(image_id)
    return Selection({split: sorted(ids) for split, ids in chosen.items()}, sum(map(len, found.values())))


def picture_rows(path: Path, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The rows of the picture table `path` for `ids`: a dictionary with PICTURE_COLUMNS for each ImageID."""
    rows = {}
    for batch in rows_with(path, PICTURE_COLUMNS, "ImageID", ids, quoted=True):
        for row in batch.to_pylist():
            text = {column: value.decode(errors="replace").strip() for column, value in row.items()}
            rows[text["ImageID"]] = text
    return rows


def _with_class(boxes: Path, mids: Collection[str] | None) -> set[str]:
    """The ImageIDs that have a box of one of `mids`."""
    ids: set[str] = set()
    if mids is None:
        batches = stream(boxes, ["ImageID"], quoted=False)
    else:
        batches = rows_with(boxes, ["ImageID", "LabelName"], "LabelName", mids, quoted=False)
    for batch in batches:
        ids.update(pc.unique(batch.column("ImageID")).to_pylist())
    return ids


def _with_licence(pictures: Path, ids: set[str], licences: Collection[str]) -> set[str]:
    """Those of `ids` that the picture table knows, under one of `licences` (empty: any).

    What it does not know has no author to be named, so that it may not be used.
    """
    kept: set[str] = set()
    if licences:
        batches = rows_with(pictures, ["ImageID", "License"], "License", licences, quoted=True)
    else:
        batches = stream(pictures, ["ImageID"], quoted=True)
    for batch in batches:
        kept.update(ids.intersection(batch.column("ImageID").cast(pa.string()).to_pylist()))
    return kept
