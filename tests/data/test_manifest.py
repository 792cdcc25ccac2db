"""The tables between stages: what goes in comes out, equal rows give equal bytes, and mistakes are named."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from balle_li.boxes import Box
from balle_li.data.manifest import read_dropped, read_index, read_manifest, write_dropped, write_index, write_manifest
from balle_li.errors import DatasetError, StageError


def index_row(image_id: str, **columns: object) -> dict[str, object]:
    return {"image_id": image_id, "path": f"images/{image_id}.jpg", "rotation": 0.0, "boxes": [], **columns}


def test_rows_come_back_sorted_with_boxes_and_nulls(tmp_path: Path) -> None:
    box = Box(0.1, 0.2, 0.3, 0.4, "Dog", is_group_of=True)
    as_mapping = {"label": "Cat", "xmin": 0.0, "ymin": 0.0, "xmax": 1.0, "ymax": 1 / 3}
    write_index(tmp_path / "index.parquet", [index_row("b", boxes=[box, as_mapping], author="Ana"), index_row("a")])

    first, second = read_index(tmp_path / "index.parquet")

    assert [first["image_id"], second["image_id"]] == ["a", "b"]
    assert first["boxes"] == [] and first["author"] is None
    assert second["boxes"] == [box, Box(0.0, 0.0, 1.0, 1 / 3, "Cat")] and second["author"] == "Ana"


def test_equal_rows_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    rows = [index_row(name, boxes=[Box(0.1, 0.2, 0.3, 0.4, "Dog")]) for name in "abc"]
    write_index(tmp_path / "one.parquet", rows)
    write_index(tmp_path / "two.parquet", reversed(rows))
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_manifest_and_dropped_round_trip(tmp_path: Path) -> None:
    kept = index_row(
        "a", width=640, height=480, split="train", sha256="0" * 64, licence=None, author=None, source_url=None
    )
    dropped = {
        "image_id": "b",
        "path": "images/b.jpg",
        "reason": "too_small",
        "detail": "its shorter side has 3 pixels",
    }
    write_manifest(tmp_path / "manifest.parquet", [kept])
    write_dropped(tmp_path / "dropped.parquet", [dropped])
    assert read_manifest(tmp_path / "manifest.parquet") == [kept]
    assert read_dropped(tmp_path / "dropped.parquet") == [dropped]


def test_two_pictures_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="two pictures have the id 'a'"):
        write_index(tmp_path / "index.parquet", [index_row("a"), index_row("a")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("columns", [{"colour": "red"}, {"rotation": "left"}])
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, columns: dict[str, object]) -> None:
    with pytest.raises(DatasetError):
        write_index(tmp_path / "index.parquet", [index_row("a", **columns)])


def test_a_missing_table_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="kedro run --pipeline download"):
        read_index(tmp_path / "index.parquet")
    with pytest.raises(StageError, match="kedro run --pipeline curate"):
        read_manifest(tmp_path / "manifest.parquet")


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(pa.table({"image_id": ["a"]}), path)
    with pytest.raises(StageError, match="other columns"):
        read_index(path)
    path.write_bytes(b"PAR1 cut midway")
    with pytest.raises(StageError, match="cannot be read"):
        read_index(path)
