"""What every format has in common: the picture as people see it, numbers and text as people write them."""

from pathlib import Path

import pytest
from labelled_folders import HALF, YOLO_ROW, coco, picture, run, text

from balle_li.boxes import Box
from balle_li.data.labels import number, read_text


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
