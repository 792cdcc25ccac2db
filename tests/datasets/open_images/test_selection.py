"""The selection: what it may choose from, that only the seed decides, and rows that are awkward to read."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from balle_li.datasets.open_images.selection import Tables, picture_rows, select
from balle_li.datasets.open_images.tables import BOX_COLUMNS, PICTURE_COLUMNS, rows_with
from balle_li.errors import DatasetError

BY = "https://creativecommons.org/licenses/by/2.0/"
OTHER = "https://creativecommons.org/licenses/by-sa/2.0/"


def write_tables(folder: Path, boxes: Sequence[tuple[str, str]], pictures: Sequence[tuple[str, str]]) -> Tables:
    """Tables with a box for each (ImageID, class) and a picture for each (ImageID, licence)."""
    folder.mkdir(exist_ok=True)
    tables = Tables(folder / "boxes.csv", folder / "pictures.csv")
    with open(tables.boxes, "w", newline="") as file:
        rows = [(image_id, "xclick", mid, 1, 0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0, 0) for image_id, mid in boxes]
        csv.writer(file, lineterminator="\n").writerows([BOX_COLUMNS, *rows])
    with open(tables.pictures, "w", newline="") as file:
        rows = [
            (image_id, "u", "l", licence, 'An "author", he', "Two\nlines", "90.0") for image_id, licence in pictures
        ]
        csv.writer(file, lineterminator="\n").writerows([PICTURE_COLUMNS, *rows])
    return tables


def ids(count: int) -> list[str]:
    return [hashlib.md5(str(i).encode()).hexdigest()[:16] for i in range(count)]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    boxes = [(image_id, "/dog" if i % 2 else "/cat") for i, image_id in enumerate(ids(100))]
    return write_tables(
        tmp_path, boxes, [(image_id, BY if i % 4 < 2 else OTHER) for i, image_id in enumerate(ids(100))]
    )


def test_chooses_by_the_hash_of_seed_and_id(tables: Tables) -> None:
    dogs = [image_id for i, image_id in enumerate(ids(100)) if i % 2]
    expected = sorted(dogs, key=lambda image_id: hashlib.sha256(f"7:{image_id}".encode()).digest())[:10]
    selection = select({"train": tables}, ["/dog"], [], 10, seed=7)
    assert selection.ids == {"train": sorted(expected)}
    assert (len(selection), selection.found) == (10, 50)


def test_another_seed_chooses_others_and_a_larger_count_only_adds(tables: Tables) -> None:
    ten, twenty = (set(select({"train": tables}, ["/dog"], [], n, seed=0).ids["train"]) for n in (10, 20))
    assert ten < twenty
    assert ten != set(select({"train": tables}, ["/dog"], [], 10, seed=1).ids["train"])


def test_the_order_of_rows_and_splits_does_not_matter(tables: Tables, tmp_path: Path) -> None:
    reversed_rows = write_tables(
        tmp_path / "reversed",
        [(image_id, "/dog" if i % 2 else "/cat") for i, image_id in reversed(list(enumerate(ids(100))))],
        [(image_id, BY) for image_id in reversed(ids(100))],
    )
    assert (
        select({"train": tables}, ["/dog"], [], 10, 0).ids == select({"train": reversed_rows}, ["/dog"], [], 10, 0).ids
    )
    other = write_tables(tmp_path / "other", [("f" * 16, "/dog")], [("f" * 16, BY)])
    one, two = {"train": tables, "test": other}, {"test": other, "train": tables}
    assert select(one, ["/dog"], [], 30, 0).ids == select(two, ["/dog"], [], 30, 0).ids


def test_any_of_several_classes_or_all_pictures(tables: Tables) -> None:
    assert select({"train": tables}, ["/dog", "/cat"], [], 1000, 0).found == 100
    assert select({"train": tables}, None, [], 1000, 0).found == 100
    assert select({"train": tables}, ["/horse"], [], 1000, 0).found == 0


def test_only_accepted_licences(tables: Tables) -> None:
    chosen = select({"train": tables}, ["/dog"], [BY], 1000, 0).ids["train"]
    assert chosen == sorted(image_id for i, image_id in enumerate(ids(100)) if i % 4 == 1)
    assert select({"train": tables}, ["/dog"], [BY, OTHER], 1000, 0).found == 50
    assert select({"train": tables}, ["/dog"], [BY.rstrip("/")], 1000, 0).found == 0


def test_a_picture_without_a_row_of_its_own_is_not_chosen(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, [("a" * 16, "/dog"), ("b" * 16, "/dog")], [("b" * 16, BY)])
    assert select({"train": tables}, ["/dog"], [], 5, 0).ids == {"train": ["b" * 16]}


def test_ids_of_digits_and_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    numbers = ["0012345678901234", "1234567890123456", "12345678901234e5"]
    tables = write_tables(tmp_path, [(number, "/dog") for number in numbers], [(number, BY) for number in numbers])
    assert select({"train": tables}, ["/dog"], [], 5, 0).ids == {"train": sorted(numbers)}
    assert sorted(picture_rows(tables.pictures, numbers)) == sorted(numbers)


def test_rows_keep_quotation_marks_line_breaks_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, [], [("a" * 16, BY), ("b" * 16, BY)])
    tables.pictures.write_bytes(tables.pictures.read_bytes().replace(b"Two\n", b"\xff\n"))
    row = picture_rows(tables.pictures, ["b" * 16])["b" * 16]
    assert (row["Author"], row["Title"], row["Rotation"]) == ('An "author", he', "\ufffd\nlines", "90.0")


def test_a_damaged_table_is_removed_with_one_clear_line(tables: Tables) -> None:
    tables.boxes.write_text(tables.boxes.read_text() + "a,b,c\n")
    with pytest.raises(DatasetError, match=r"was damaged .* has been removed; run the same command again") as failure:
        list(rows_with(tables.boxes, BOX_COLUMNS, "LabelName", ["/dog"], quoted=False))
    assert "\n" not in str(failure.value)
    assert not tables.boxes.exists()
