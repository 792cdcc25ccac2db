"""Open Images' tables: the classes and their names, the rows of the large CSV files, and which pictures are chosen.

The largest file has 14.6 million rows; they are streamed and never in memory together.
"""

import csv
import difflib
import heapq
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from balle_li.data.open_images import metadata
from balle_li.data.open_images.pictures import picture_key
from balle_li.errors import ConfigError, DatasetError, in_one_line
from balle_li.files import hash_fraction

ENTITY = ("/m/0bl9f", "Entity")  # the hierarchy's root, which is no class
BOX_COLUMNS = (
    *("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"),
    *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"),
)
PICTURE_COLUMNS = ("ImageID", "OriginalURL", "OriginalLandingURL", "License", "Author", "Title", "Rotation")

BLOCK_BYTES = 8 << 20


def stream(path: Path, columns: Sequence[str], quoted: bool) -> Iterator[pa.RecordBatch]:
    """The file's rows in batches of about 8 MiB of text, all columns as text: an ImageID may be all digits.

    `quoted`: fields may be in quotation marks and hold commas and line breaks, which takes longer to read; they may also
    hold bytes that are no UTF-8, so that columns come as bytes.

    Raises DatasetError: the file is damaged, cut midway through a row or no such table; it is removed.
    """
    kind = pa.binary() if quoted else pa.string()
    try:
        with pacsv.open_csv(
            path,
            read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(quote_char='"' if quoted else False, newlines_in_values=quoted),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns), column_types=dict.fromkeys(columns, kind)
            ),
        ) as batches:
            yield from batches
    except pa.ArrowException as error:
        metadata.discard(path)
        reason = in_one_line(error)[:200]
        raise DatasetError(
            f"{path} was damaged, perhaps on the server ({reason}), and has been removed; run the same command again"
        ) from None


def rows_with(
    path: Path, columns: Sequence[str], column: str, values: Collection[str], quoted: bool
) -> Iterator[pa.RecordBatch]:
    """The rows whose `column` is one of `values`, in the file's order."""
    wanted = pa.array(sorted(values), pa.string())
    if quoted:
        wanted = wanted.cast(pa.binary())
    for batch in stream(path, columns, quoted):
        yield batch.filter(pc.is_in(batch.column(column), value_set=wanted))


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

    def keys(self) -> list[str]:
        """The bucket's keys of the pictures."""
        return [picture_key(split, image_id) for split, ids in self.ids.items() for image_id in ids]


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


@dataclass(frozen=True)
class Classes:
    """The boxable classes and their hierarchy."""

    names: dict[str, str]  # by MID
    hierarchy: dict[str, Any]  # nodes {LabelName: MID, Subcategory: [...], Part: [...]}

    def mids(self, names: Sequence[str], include_children: bool) -> list[str]:
        """The sorted MIDs of the classes called `names`; with `include_children`, of all classes below them too.

        Below means `Subcategory`: a Man is a Person. `Part` is not followed: a Human hand is no Person.

        Raises ConfigError, with the nearest names: there is no class of this name.
        """
        by_name = {name: mid for mid, name in self.names.items()}
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise ConfigError("dataset.open_images.classes: " + "; ".join(_describe(name, by_name) for name in unknown))
        chosen = {by_name[name] for name in names}
        pending = sorted(chosen) if include_children else []
        children = self._children()
        while pending:
            below = children[pending.pop()] - chosen
            chosen |= below
            pending += below
        return sorted(chosen & self.names.keys())

    def _children(self) -> defaultdict[str, set[str]]:
        """The classes right below each; a class may stand at several places of the hierarchy."""
        children: defaultdict[str, set[str]] = defaultdict(set)
        for node in _nodes(self.hierarchy):
            children[node["LabelName"]].update(child["LabelName"] for child in node.get("Subcategory", []))
        return children

    def named_hierarchy(self) -> dict[str, Any]:
        """The hierarchy with names in the place of MIDs, as FiftyOne keeps it."""
        return _named(self.hierarchy, {ENTITY[0]: ENTITY[1], **self.names})


def read_classes(classes: Path, hierarchy: Path) -> Classes:
    """Read the class list (rows of MID and name, no header) and the hierarchy (JSON).

    Raises DatasetError: a file is not what it should be; it is then removed.
    """
    with open(classes, encoding="utf-8", newline="", errors="replace") as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != 2 or not row[0].startswith("/") for row in rows):
        metadata.discard(classes)
        raise DatasetError(f"{classes} was not a list of classes and has been removed; run the same command again")
    try:
        tree = json.loads(hierarchy.read_text(encoding="utf-8"))
        parsed = Classes(dict(rows), tree)
        parsed.named_hierarchy()
    except (ValueError, TypeError, KeyError, AttributeError):
        metadata.discard(hierarchy)
        raise DatasetError(
            f"{hierarchy} was not a class hierarchy and has been removed; run the same command again"
        ) from None
    return parsed


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in [*node.get("Subcategory", []), *node.get("Part", [])]:
        yield from _nodes(child)


def _named(node: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    named = dict(node)
    named["LabelName"] = names.get(node["LabelName"], node["LabelName"])
    for key in ("Subcategory", "Part"):
        if key in node:
            named[key] = [_named(child, names) for child in node[key]]
    return named


def _describe(name: str, known: dict[str, str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see the class list of Open Images V7"
    return f"{name!r} is not a boxable class of Open Images: {hint}"
