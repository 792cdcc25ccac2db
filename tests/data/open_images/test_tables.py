"""Open Images' tables: classes by name, the selection that only the seed decides, and rows that are awkward to read."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from balle_li.data.open_images import metadata
from balle_li.data.open_images.tables import (
    BOX_COLUMNS,
    PICTURE_COLUMNS,
    Classes,
    Tables,
    picture_rows,
    read_classes,
    rows_with,
    select,
)
from balle_li.errors import ConfigError, DatasetError

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


@pytest.mark.parametrize("damage", ["a row of three", "cut", "web page", "empty"])
def test_a_damaged_table_is_removed_with_one_clear_line(tables: Tables, damage: str) -> None:
    whole = tables.boxes.read_text()
    tables.boxes.write_text({
        "a row of three": whole + "a,b,c\n",
        "cut": whole[: whole.rindex(",")],
        "web page": "<html><body>Please log in</body></html>",
        "empty": "",
    }[damage])  # fmt: skip
    with pytest.raises(DatasetError, match=r"was damaged.* has been removed; run the same command again") as failure:
        list(rows_with(tables.boxes, BOX_COLUMNS, "LabelName", ["/dog"], quoted=False))
    assert "\n" not in str(failure.value)
    assert not tables.boxes.exists()


@pytest.fixture
def known(shared: Path) -> Classes:
    root = shared / "labelled-photos" / "metadata"
    paths = (root / path.removeprefix("openimages/") for path in (metadata.CLASSES, metadata.HIERARCHY))
    return read_classes(*paths)


def test_names_become_mids(known: Classes) -> None:
    assert len(known.names) == 601
    assert known.mids(["Dog", "Cat"], include_children=False) == ["/m/01yrx", "/m/0bt9lr"]


def test_children_are_what_a_class_is_and_not_its_parts(known: Classes) -> None:
    names = {known.names[mid] for mid in known.mids(["Person"], include_children=True)}
    assert {"Person", "Man", "Woman", "Boy", "Girl"} <= names
    assert names.isdisjoint({"Human face", "Human hand", "Clothing"})


def test_grandchildren_are_included(known: Classes) -> None:
    names = {known.names[mid] for mid in known.mids(["Animal"], include_children=True)}
    assert {"Animal", "Mammal", "Carnivore", "Dog"} <= names


def test_children_are_found_wherever_a_class_stands() -> None:
    tree = {
        "LabelName": "/root",
        "Subcategory": [{"LabelName": "/b", "Subcategory": [{"LabelName": "/c"}]}],
        "Part": [{"LabelName": "/a", "Subcategory": [{"LabelName": "/b"}]}],
    }
    known = Classes({"/a": "A", "/b": "B", "/c": "C"}, tree)
    assert known.mids(["A"], include_children=True) == ["/a", "/b", "/c"]


def test_unknown_names_give_one_line_with_the_nearest(known: Classes) -> None:
    with pytest.raises(
        ConfigError, match=r"'human face' is not a boxable class .* did you mean 'Human face'"
    ) as failure:
        known.mids(["Dog", "human face", "qqqqqq"], include_children=True)
    assert "'qqqqqq'" in str(failure.value) and "\n" not in str(failure.value)


def test_the_hierarchy_is_given_names(known: Classes) -> None:
    assert known.named_hierarchy()["LabelName"] == "Entity"


@pytest.mark.parametrize("damaged", ["classes", "hierarchy"])
def test_damaged_files_are_removed_so_that_they_are_fetched_again(tmp_path: Path, damaged: str) -> None:
    files = {"classes": tmp_path / "classes.csv", "hierarchy": tmp_path / "hierarchy.json"}
    files["classes"].write_text("/m/1,Dog")
    files["hierarchy"].write_text('{"LabelName": "/m/1"}')
    assert read_classes(files["classes"], files["hierarchy"]).names == {"/m/1": "Dog"}
    files[damaged].write_text("<html>")
    with pytest.raises(DatasetError, match="has been removed; run the same command again"):
        read_classes(files["classes"], files["hierarchy"])
    assert not files[damaged].exists()
