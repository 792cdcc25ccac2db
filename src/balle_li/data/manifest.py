"""The tables that stages hand to each other, their columns written down once.

- the index (`index.parquet`, made by download): every picture that was brought, as it lies on disk;
- the manifest (`manifest.parquet`, made by curate): every picture that was kept, upright, with its split;
- the dropped (`dropped.parquet`, made by curate): every other picture and why it was not kept;
- the origins (`origins.json`, made by download where it renames files): the users' own paths of pictures.

A row is a dictionary with the columns as keys; its boxes are `Box`es. Rows are sorted by `image_id`, and nothing but the
rows goes into a file: equal rows give equal bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from balle_li.boxes import Box, from_records, to_records
from balle_li.errors import DatasetError, StageError
from balle_li.files import atomic_path, printable, read_json, sha256_file, write_json

ORIGINS_FILE = "origins.json"

BOXES = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            ("xmin", pa.float64()),
            ("ymin", pa.float64()),
            ("xmax", pa.float64()),
            ("ymax", pa.float64()),
            ("is_group_of", pa.bool_()),
            ("is_depiction", pa.bool_()),
        ]
    )
)

INDEX_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),  # relative to the raw folder, with forward slashes
        ("source_url", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("title", pa.string()),
        ("rotation", pa.float64()),  # degrees counter-clockwise, as in Open Images
        ("source_split", pa.string()),
        ("boxes", BOXES),
    ]
)

MANIFEST_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),  # relative to the raw folder, with forward slashes
        ("width", pa.int64()),  # pixels of the upright picture
        ("height", pa.int64()),
        ("rotation", pa.float64()),  # degrees counter-clockwise, still to be applied when the file is read
        ("split", pa.string()),  # one of SPLITS
        ("sha256", pa.string()),  # of the file
        ("licence", pa.string()),
        ("author", pa.string()),
        ("source_url", pa.string()),
        ("boxes", BOXES),  # of the upright picture
    ]
)

DROPPED_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("reason", pa.string()),  # one of REASONS
        ("detail", pa.string()),
    ]
)


class IndexRow(TypedDict):
    """A picture that download brought; see INDEX_SCHEMA."""

    image_id: str
    path: str
    source_url: str | None
    licence: str | None
    author: str | None
    title: str | None
    rotation: float
    source_split: str | None
    boxes: list[Box]


class ManifestRow(TypedDict):
    """A picture that curate kept; see MANIFEST_SCHEMA."""

    image_id: str
    path: str
    width: int
    height: int
    rotation: float
    split: str
    sha256: str
    licence: str | None
    author: str | None
    source_url: str | None
    boxes: list[Box]


class DroppedRow(TypedDict):
    """A picture that curate did not keep, and why; see DROPPED_SCHEMA."""

    image_id: str
    path: str
    reason: str
    detail: str | None


def write_index(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `index.parquet`. Boxes may be `Box`es or dictionaries with its fields; columns left out are null.

    Raises DatasetError: two rows have the same image_id, or a row does not fit the schema.
    """
    _write(path, rows, INDEX_SCHEMA)


def read_index(path: Path) -> list[IndexRow]:
    """Read `index.parquet`. Raises StageError when it is missing, unreadable or has other columns."""
    return _read(path, INDEX_SCHEMA, "download")


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `manifest.parquet`; as `write_index`."""
    _write(path, rows, MANIFEST_SCHEMA)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read `manifest.parquet`. Raises StageError when it is missing, unreadable or has other columns."""
    return _read(path, MANIFEST_SCHEMA, "curate")


def read_manifest_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """The named columns of `manifest.parquet` as a table, a tenth of its rows' memory; raises as `read_manifest`."""
    return _read_table(path, MANIFEST_SCHEMA, "curate", columns)


def check_unchanged(path: Path, row: Mapping[str, Any]) -> None:
    """Raise DatasetError unless the file at `path` is the one that the manifest's `row` was made of."""
    if sha256_file(path) != row["sha256"]:
        raise DatasetError(
            f"{printable(path)}: the picture has changed since curate; run `kedro run --pipeline curate` again"
        )


def write_dropped(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `dropped.parquet`; as `write_index`."""
    _write(path, rows, DROPPED_SCHEMA)


def read_dropped(path: Path) -> list[DroppedRow]:
    """Read `dropped.parquet`. Raises StageError when it is missing, unreadable or has other columns."""
    return _read(path, DROPPED_SCHEMA, "curate")


def _write(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    ordered = sorted((_to_record(row, schema) for row in rows), key=lambda record: record["image_id"])
    for first, second in pairwise(ordered):
        if first["image_id"] == second["image_id"]:
            raise DatasetError(f"{path}: two pictures have the id {first['image_id']!r}; ids must be unique")
    try:
        table = pa.Table.from_pylist(ordered, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DatasetError(f"{path}: a row does not fit the table's columns: {error}") from None
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def _to_record(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    unknown = sorted(set(row) - set(schema.names))
    if unknown:
        raise DatasetError(f"picture {row.get('image_id')!r} has columns that the table has not: {', '.join(unknown)}")
    record = dict(row)
    if "boxes" in schema.names:
        boxes = [box if isinstance(box, Box) else Box(**box) for box in row["boxes"]]
        record["boxes"] = to_records(boxes)
    return record


def _read(path: Path, schema: pa.Schema, stage: str) -> list[Any]:
    rows: list[Any] = _read_table(path, schema, stage, schema.names).to_pylist()
    if "boxes" in schema.names:
        for row in rows:
            row["boxes"] = from_records(row["boxes"])
    return rows


def _read_table(path: Path, schema: pa.Schema, stage: str, columns: Sequence[str]) -> pa.Table:
    command = f"kedro run --pipeline {stage}"
    try:
        matches = pq.read_schema(path).equals(schema)
        table = pq.read_table(path, columns=list(columns)) if matches else None
    except FileNotFoundError:
        raise StageError(f"{path} does not exist; run `{command}` first") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise StageError(f"{path} cannot be read ({error}); run `{command}` again") from None
    if table is None:
        raise StageError(f"{path} has other columns than this version writes; run `{command}` again")
    return table


def write_origins(folder: Path, origins: Mapping[str, str]) -> None:
    """Keep the users' own paths of pictures, by their paths in `folder`."""
    write_json(folder / ORIGINS_FILE, origins)


def own_path(raw: Path) -> Callable[[str], str]:
    """A function that gives the user's own path for a picture's path in the folder `raw`; the latter where there is none."""
    origins = read_json(raw / ORIGINS_FILE) if (raw / ORIGINS_FILE).is_file() else {}
    return lambda path: str(origins.get(path, path))
