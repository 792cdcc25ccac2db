"""Open Images: CSV files of boxes, classes and picture facts, as Google publishes them or as FiftyOne lays them out."""

import csv
import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from balle_li.data.labels import Labels, PictureLabels, number, read_text, readable, reading
from balle_li.errors import DatasetError, in_one_line

EXPECTED = (
    "…annotations-bbox.csv (or FiftyOne's labels/detections.csv) and class-descriptions-boxable.csv (or metadata/classes.csv), "
    "in the folder or in metadata/ above it"
)
FLAGS = ("IsGroupOf", "IsDepiction")
CORNERS = ("XMin", "YMin", "XMax", "YMax")
FACTS = ("OriginalURL", "OriginalLandingURL", "License", "Author", "Title", "Rotation")


@dataclasses.dataclass(frozen=True)
class Found:
    boxes: list[Path]
    classes: list[Path]
    facts: list[Path]
    complete: bool  # the label files lie in the folder itself

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        return [*self.boxes, *self.classes, *self.facts]


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """Open Images' label files under `root`, or in metadata/ and labels/ up to three folders above."""
    found = _sort(files, complete=True)
    for base in list(root.parents)[:3]:
        if found is not None:
            break
        around = (*base.glob("*.csv"), *(base / "labels").glob("*.csv"), *(base / "metadata").rglob("*.csv"))
        found = _sort(readable(around), complete=False)
    return found


def _sort(files: Iterable[Path], complete: bool) -> Found | None:
    boxes, classes, facts = [], [], []
    for path in files:
        place = f"{path.parent.name}/{path.name}"
        if path.name.endswith("annotations-bbox.csv") or place == "labels/detections.csv":
            boxes.append(path)
        elif path.suffix == ".csv" and ("class-descriptions" in path.name or place == "metadata/classes.csv"):
            classes.append(path)
        elif path.name.endswith("with-rotation.csv") or place == "metadata/image_ids.csv":
            facts.append(path)
    return Found(boxes, classes, facts, complete) if boxes else None


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures` with author, licence and rotation; a picture's file name is its ImageID.

    The published label files are about all of Open Images, so a label without its picture says nothing of a loss.
    Raises DatasetError: a file is cut short or lacks columns, or there are no class names.
    """
    labels = Labels("open-images", must_have_pictures=False)
    names = _class_names(found)
    by_id: dict[str, list[Path]] = defaultdict(list)
    for picture in pictures:
        by_id[picture.stem].append(picture)
    for path in found.facts:
        for row in _rows(path, by_id, FACTS, {}, set()):
            for picture in by_id[row["ImageID"]]:
                labels.by_picture[picture] = _facts(row)
    elsewhere: set[str] = set()
    unnamed = Counter[str]()
    required = dict.fromkeys(CORNERS, "float64") | {"LabelName": "string"}
    for path in found.boxes:
        for row in _rows(path, by_id, FLAGS, required, elsewhere):
            name = names.get(row["LabelName"])
            if name is None:
                unnamed[str(row["LabelName"])] += 1
                continue
            corners = [math.nan if row[corner] is None else row[corner] for corner in CORNERS]
            flags = {"is_group_of": row["IsGroupOf"] == "1", "is_depiction": row["IsDepiction"] == "1"}  # -1: unknown
            for picture in by_id[row["ImageID"]]:
                labels.add_boxes(picture, [labels.make_box(picture, name, corners, **flags)])
    for label_name, count in sorted(unnamed.items()):
        labels.add_problem(label_name, f"the class of {count} boxes has no name in the class descriptions")
    labels.without_picture = sorted(elsewhere) if found.complete else []
    return labels


def _class_names(found: Found) -> dict[str, str]:
    names: dict[str, str] = {}
    for path in found.classes:
        names |= {row[0]: row[1] for row in csv.reader(read_text(path).splitlines()) if len(row) >= 2}
    if not names:
        raise DatasetError(
            f"{found.boxes[0]}: Open Images labels without class names; put class-descriptions-boxable.csv beside it"
        )
    return names


def _rows(
    path: Path, wanted: dict[str, list[Path]], optional: Sequence[str], required: dict[str, str], elsewhere: set[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a CSV file about `wanted` ImageIDs, read in blocks: the largest has 14.6 million rows.

    Every other ImageID is added to `elsewhere`, where `required` columns are asked for.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow_csv

    ids = pa.array(list(wanted), pa.string())
    # As bytes, for people's names and titles hold some that are no UTF-8.
    types = {"ImageID": "string", **dict.fromkeys(optional, "binary"), **required}
    options = arrow_csv.ConvertOptions(
        column_types={name: getattr(pa, kind)() for name, kind in types.items()},
        include_columns=list(types),
        include_missing_columns=True,
        strings_can_be_null=True,
    )
    try:
        with reading(path), open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            header = next(csv.reader(file), [])
        reader = arrow_csv.open_csv(
            path, convert_options=options, parse_options=arrow_csv.ParseOptions(newlines_in_values=not required)
        )
        missing = [name for name in ("ImageID", *required) if name not in header]
        if missing:
            raise DatasetError(f"{path} is not an Open Images label file: it has no column {', '.join(missing)}")
        for batch in reader:
            column = batch.column("ImageID")
            mask = pc.is_in(column, value_set=ids)
            if required:
                elsewhere.update(filter(None, pc.unique(column.filter(pc.invert(mask))).to_pylist()))
            for row in batch.filter(mask).to_pylist():
                yield row | {name: row[name] and row[name].decode(errors="replace") for name in optional}
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{path} is damaged or cut short ({in_one_line(error)[:200]}); get it again") from None


def _facts(row: dict[str, Any]) -> PictureLabels:
    return PictureLabels(
        source_url=row.get("OriginalLandingURL") or row.get("OriginalURL") or None,
        licence=row.get("License") or None,
        author=row.get("Author") or None,
        title=row.get("Title") or None,
        rotation=number(row.get("Rotation")) or 0.0,
    )
