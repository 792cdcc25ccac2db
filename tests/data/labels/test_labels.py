"""What every format has in common: the picture as people see it, numbers and text as people write them."""

from pathlib import Path

import pytest
from labelled_folders import HALF, YOLO_ROW, coco, make_unreadable, open_images_tree, picture, run, text, voc

from balle_li.boxes import Box
from balle_li.data.labels import Paths, number, read_text
from balle_li.errors import DatasetError


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, HALF), (3, Box(0.5, 0.5, 1.0, 1.0, "Cat")), (6, Box(0.0, 0.5, 0.5, 1.0, "Cat"))],
)
def test_boxes_drawn_on_a_turned_picture_come_back_to_its_stored_pixels(
    tmp_path: Path, orientation: int, expected: Box
) -> None:
    picture(tmp_path / "in" / "images" / "1.jpg", orientation)
    text(tmp_path / "in" / "labels" / "1.txt", YOLO_ROW)
    text(tmp_path / "in" / "classes.txt", "Dog\nCat")
    assert run(tmp_path / "raw", tmp_path / "in")["images__1"]["boxes"] == [expected]


def test_boxes_drawn_on_stored_pixels_stay(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "1.jpg", orientation=6)  # upright 20 by 40, but the labels say 40 by 20
    text(tmp_path / "in" / "labels.json", coco(["1.jpg"]))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == [HALF]


@pytest.mark.parametrize("labels", ["coco", "voc"])
@pytest.mark.parametrize(
    ("size", "orientation", "expected"),
    [
        ((20, 40), 6, Box(0.0, 0.5, 0.5, 1.0, "Cat")),
        ((40, 80), 6, Box(0.0, 0.5, 0.5, 1.0, "Cat")),
        ((7, 13), 6, Box(0.0, 0.5, 0.5, 1.0, "Cat")),  # a third, in whole pixels
        ((50, 50), 6, Box(0.0, 0.5, 0.5, 1.0, "Cat")),  # says nothing
        ((80, 40), 3, Box(0.5, 0.5, 1.0, 1.0, "Cat")),  # turned upside down, it keeps its proportions
        ((40, 20), 6, HALF),
        ((80, 40), 6, HALF),
    ],
)
def test_the_proportions_that_labels_state_tell_what_they_were_drawn_on(
    tmp_path: Path, labels: str, size: tuple[int, int], orientation: int, expected: Box
) -> None:
    width, height = size
    picture(tmp_path / "in" / "1.jpg", orientation)  # stored 40 by 20
    if labels == "coco":
        corners = f"[0, 0, {width / 2}, {height / 2}]"
        content = coco(["1.jpg"], width=width, height=height).replace("[0, 0, 20, 10]", corners)
        text(tmp_path / "in" / "labels.json", content)
    else:
        content = voc("1.jpg", "SIZE").replace(">20<", f">{width / 2}<").replace(">10<", f">{height / 2}<")
        stated = f"<size><width>{width}</width><height>{height}</height></size>"
        text(tmp_path / "in" / "1.xml", content.replace("SIZE", stated))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == [expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(40, 40.0), ("40px", 40.0), (" 4e1 ", 40.0), ("-.5", -0.5), ("wide", None), (None, None), (True, None),
     (float("nan"), None), ("nan", None), (float("inf"), None), ([], None)],
)  # fmt: skip
def test_numbers(value: object, expected: float | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_text_is_read_in_the_encoding_that_it_has(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_bytes("猫咪\n小狗\n".encode(encoding))
    assert read_text(tmp_path / "classes.txt").split() == ["猫咪", "小狗"]


def test_text_of_western_europe_is_not_taken_for_chinese(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("Citroën\nÉlan\n".encode("latin-1"))
    assert read_text(tmp_path / "classes.txt").split() == ["Citroën", "Élan"]


LABELS = {
    "classes.txt": "Dog\nCat",
    "data.yaml": "names: [Dog, Cat]",
    "docker-compose.yml": "services: {}",
    "1.txt": YOLO_ROW,
    "1.xml": voc("1.jpg"),
    "annotations-bbox.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax",
    "labels.json": coco(["1.jpg"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_label_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    picture(tmp_path / "in" / "1.jpg")
    make_unreadable(text(tmp_path / "in" / name, LABELS[name]), monkeypatch)
    if name.endswith(".csv"):
        text(tmp_path / "in" / "class-descriptions.csv", "/m/01yrx,Cat")
    with pytest.raises(DatasetError, match=rf"{name} cannot be read \(Permission denied\); make it readable") as caught:
        run(tmp_path / "raw", tmp_path / "in")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("docker-compose.yml", "names: [Dog, Cat]"),
        ("classes.txt", "Dog"),
        ("annotations/labels.json", coco(["1.jpg"])),
        ("Annotations/1.xml", voc("1.jpg")),
        ("annotations-bbox.csv", "ImageID"),
    ],
)
def test_a_file_above_the_folder_that_cannot_be_read_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str
) -> None:
    picture(tmp_path / "photos" / "1.jpg")
    make_unreadable(text(tmp_path / name, content), monkeypatch)
    assert run(tmp_path / "raw", tmp_path / "photos")["1"]["boxes"] == []


def test_facts_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_images_tree(tmp_path / "in", "a", "0")
    make_unreadable(tmp_path / "in" / "metadata" / "image_ids.csv", monkeypatch)
    with pytest.raises(DatasetError, match=r"image_ids\.csv cannot be read"):
        run(tmp_path / "raw", tmp_path / "in")


def test_a_folder_of_labels_that_may_not_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "images" / "1.jpg")
    closed = text(tmp_path / "in" / "labels" / "1.txt", YOLO_ROW)
    really = Path.exists

    def refuse(path: Path) -> bool:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DatasetError, match=r"in/labels may hold labels, but cannot be read \(Permission denied\)"):
        run(tmp_path / "raw", tmp_path / "in" / "images")


def test_a_picture_with_the_longest_name_has_no_labels_of_a_longer_one(tmp_path: Path) -> None:
    name = "x" * 251 + ".jpg"
    picture(tmp_path / "in" / name)
    assert Paths().find(tmp_path / "in" / f"{name}.txt") is None
    (row,) = run(tmp_path / "raw", tmp_path / "in").values()
    assert row["boxes"] == []
