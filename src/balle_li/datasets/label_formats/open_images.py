"""Open Images: CSV files of boxes, classes and picture facts, as Google publishes them or as FiftyOne lays them out."""

import csv
import dataclasses
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from balle_li.datasets.label_formats.labels import Labels, PictureLabels
from balle_li.datasets.label_formats.staging import import_boxes, key_of, link_pictures
from balle_li.errors import DatasetError

EXPECTED = (
    "…annotations-bbox.csv (or FiftyOne's labels/detections.csv) and class-descriptions-boxable.csv (or metadata/classes.csv), "
    "in the folder or in metadata/ above it"
)
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
CORNERS = ("XMin", "XMax", "YMin", "YMax")
FACTS = ("OriginalURL", "OriginalLandingURL", "License", "Author", "Title", "Rotation")


@dataclasses.dataclass(frozen=True)
class Found:
    boxes: list[Path]
    classes: list[Path]
    facts: list[Path]
    complete: bool  # the label files lie in the folder itself


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """Open Images' label files under `root`, or in metadata/ and labels/ up to three folders above."""
    found = _sort(files, complete=True)
    for base in list(root.parents)[:3]:
        if found is not None:
            break
        around = (*base.glob("*.csv"), *(base / "labels").glob("*.csv"), *(base / "metadata").rglob("*.csv"))
        found = _sort(sorted(around), complete=False)
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
    facts = {row["ImageID"]: row for path in found.facts for row in _rows(path, by_id, FACTS, {}, set())}
    elsewhere: set[str] = set()
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    unnamed: set[str] = set()
    for path in found.boxes:
        required = dict.fromkeys(CORNERS, "float64") | {"LabelName": "string"}
        for row in _rows(path, by_id, FLAGS, required, elsewhere):
            if row["LabelName"] in names:
                rows[row["ImageID"]].append(row)
            else:
                unnamed.add(str(row["LabelName"]))
    for label_name in sorted(unnamed):
        labels.add_problem(label_name, "the class has no name in the class descriptions")
    labels.without_picture = sorted(elsewhere) if found.complete else []
    for image_id in sorted(set(facts) | set(rows)):
        for picture in by_id[image_id]:
            labels.by_picture[picture] = _facts(facts.get(image_id, {}))
    if rows:
        _import(rows, names, by_id, labels)
    return labels


def _class_names(found: Found) -> dict[str, str]:
    names = {}
    for path in found.classes:
        with open(path, encoding="utf-8-sig", newline="") as file:
            names.update({row[0]: row[1] for row in csv.reader(file) if len(row) >= 2})
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
    types = {"ImageID": "string", **dict.fromkeys(optional, "string"), **required}
    options = arrow_csv.ConvertOptions(
        column_types={name: getattr(pa, kind)() for name, kind in types.items()},
        include_columns=list(types),
        include_missing_columns=True,
        strings_can_be_null=True,
    )
    try:
        reader = arrow_csv.open_csv(
            path, convert_options=options, parse_options=arrow_csv.ParseOptions(newlines_in_values=not required)
        )
        header = _header(path)
        missing = [name for name in ("ImageID", *required) if name not in header]
        if missing:
            raise DatasetError(f"{path} is not an Open Images label file: it has no column {', '.join(missing)}")
        for batch in reader:
            column = batch.column("ImageID")
            mask = pc.is_in(column, value_set=ids)
            if required:
                elsewhere.update(filter(None, pc.unique(column.filter(pc.invert(mask))).to_pylist()))
            yield from batch.filter(mask).to_pylist()
    except pa.ArrowInvalid as error:
        raise DatasetError(
            f"{path} is damaged or cut short ({' '.join(str(error).split())[:200]}); get it again"
        ) from None


def _header(path: Path) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _facts(row: dict[str, Any]) -> PictureLabels:
    rotation = float(row.get("Rotation") or 0.0)
    return PictureLabels(
        source_url=row.get("OriginalLandingURL") or row.get("OriginalURL") or None,
        licence=row.get("License") or None,
        author=row.get("Author") or None,
        title=row.get("Title") or None,
        rotation=rotation if math.isfinite(rotation) else 0.0,
    )


def _import(
    rows: dict[str, list[dict[str, Any]]], names: dict[str, str], by_id: dict[str, list[Path]], labels: Labels
) -> None:
    """Stage under names of our own: FiftyOne reads an ImageID of digits alone as a number and then finds nothing."""
    image_ids = sorted(rows)
    firsts = [by_id[image_id][0] for image_id in image_ids]
    with tempfile.TemporaryDirectory(prefix="balle-li-labels-") as name:
        folder = Path(name)
        link_pictures(folder / "data", firsts)
        used = sorted({row["LabelName"] for group in rows.values() for row in group})
        _write_csv(folder / "metadata" / "classes.csv", [[label_name, names[label_name]] for label_name in used])
        table: list[list[Any]] = [["ImageID", "LabelName", *CORNERS, *FLAGS]]
        for number, image_id in enumerate(image_ids):
            for row in rows[image_id]:
                flags = [int(row[flag] == "1") for flag in FLAGS]  # -1 stands for unknown
                table.append([key_of(number), row["LabelName"], *(row[corner] for corner in CORNERS), *flags])
        _write_csv(folder / "labels" / "detections.csv", table)
        import_boxes(
            "fiftyone.utils.openimages",
            "OpenImagesV7DatasetImporter",
            {"dataset_dir": name, "label_types": "detections", "include_id": False, "load_hierarchy": False},
            firsts,
            labels,
            lambda picture, boxes: boxes,
        )
    for image_id, first in zip(image_ids, firsts, strict=True):
        for copy in by_id[image_id][1:]:
            labels.set_boxes(copy, labels.by_picture[first].boxes)


def _write_csv(path: Path, rows: list[list[Any]]) -> None:
    path.parent.mkdir()
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)  # quoted: FiftyOne guesses the delimiter
