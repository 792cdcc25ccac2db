"""Pascal VOC: layouts and encodings that people's files have, each box found or counted."""

from pathlib import Path

import pytest
from labelled_folders import HALF, picture, report, run, text, voc

from balle_li.errors import DatasetError


def test_voc(tmp_path: Path) -> None:
    for name in ("1", "sizeless", "broken", "x.y"):
        picture(tmp_path / "in" / "JPEGImages" / f"{name}.jpg")
    picture(tmp_path / "in" / "SegmentationClass" / "1.png")  # a mask, no photograph
    annotations = tmp_path / "in" / "Annotations"
    text(annotations / "1.xml", voc("other name.jpg"))
    text(annotations / "x.y.xml", voc("x.y.jpg"))
    text(annotations / "sizeless.xml", voc("sizeless.jpg", size=""))
    text(annotations / "broken.xml", voc("broken.jpg")[:-20])
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert {name: row["boxes"] for name, row in rows.items()} == {
        "JPEGImages__1": [HALF],
        "JPEGImages__x.y": [HALF],
        "JPEGImages__sizeless": [HALF],
        "JPEGImages__broken": [],
    }
    (problem,) = report(tmp_path / "raw")["folders"][0]["label_problems"]
    assert problem["labels"].endswith("broken.xml")
    alone = run(tmp_path / "raw", tmp_path / "in" / "JPEGImages", labels="voc")
    assert alone["1"]["boxes"] == [HALF]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("gb2312", "gb2312"),
        ("GBK", "gbk"),
        ("gb2312", "gb18030"),
        ("big5", "big5"),
        ("shift_jis", "shift_jis"),
        ("euc-kr", "utf-8"),  # a false declaration
        ("utf-8", "gbk"),
        ("utf-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16", "utf-8"),
        ("klingon", "utf-8"),
        ("iso-8859-1", "utf-8"),
        (None, "utf-8"),
    ],
)
def test_voc_in_other_encodings(tmp_path: Path, declared: str | None, encoding: str) -> None:
    picture(tmp_path / "in" / "JPEGImages" / "1.jpg")
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    name = "語" if encoding != "gb2312" else "猫"
    content = declaration + voc("1.jpg").replace("<size>", f"<folder>{name}</folder><size>")
    path = text(tmp_path / "in" / "Annotations" / "1.xml", "")
    path.write_bytes(content.encode(encoding))
    assert run(tmp_path / "raw", tmp_path / "in")["JPEGImages__1"]["boxes"] == [HALF]


def test_a_chinese_class_keeps_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "1.jpg")
    content = '<?xml version="1.0" encoding="gb2312"?>' + voc("1.jpg").replace("Cat", "猫")
    text(tmp_path / "in" / "1.xml", "").write_bytes(content.encode("gb2312"))
    (box,) = run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"]
    assert box.label == "猫"


def test_numbers_and_objects_as_people_write_them(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "1.jpg")
    content = voc("1.jpg").replace("20</xmax>", " 20.0\n</xmax>").replace("40</width>", "40.0px</width>")
    broken = "<object><name>Dog</name></object><object><bndbox><xmin>0</xmin></bndbox></object>"
    text(tmp_path / "in" / "1.xml", content.replace("</annotation>", f"{broken}</annotation>"))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == [HALF]
    assert len(report(tmp_path / "raw")["folders"][0]["label_problems"]) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<annotation><filename>1.jpg</filename></annotation>", "its voc labels yield no box; correct them"),
        (voc("1.jpg").replace("bndbox", "robndbox"), "without a name or a bndbox"),
        (voc("1.jpg")[:-9], "are about none of its pictures"),
    ],
)
def test_voc_without_any_box_is_an_error(tmp_path: Path, content: str, reason: str) -> None:
    picture(tmp_path / "in" / "1.jpg")
    text(tmp_path / "in" / "1.xml", content)
    with pytest.raises(DatasetError, match=reason):
        run(tmp_path / "raw", tmp_path / "in")
