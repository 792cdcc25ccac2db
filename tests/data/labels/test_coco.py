"""COCO: layouts and habits that people's files have, each box found or counted."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from labelled_folders import HALF, coco, picture, report, run, text

from balle_li.boxes import Box
from balle_li.errors import DatasetError


@pytest.mark.parametrize(
    "layout",
    [
        {"images/1.jpg": "annotations/instances_default.json"},  # CVAT
        {
            "train2017/1.jpg": "annotations/instances_train2017.json",
            "val2017/1.jpg": "annotations/instances_val2017.json",
        },
        {"train/1.jpg": "train/_annotations.coco.json", "valid/1.jpg": "valid/_annotations.coco.json"},  # Roboflow
        {"data/1.jpg": "labels.json"},  # FiftyOne
    ],
)
def test_coco_layouts(tmp_path: Path, layout: dict[str, str]) -> None:
    for name, labels in layout.items():
        picture(tmp_path / "in" / name)
        text(tmp_path / "in" / labels, coco(["1.jpg"]))
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert len(rows) == len(layout)
    assert all(row["boxes"] == [HALF] for row in rows.values())
    assert all(row["licence"] == "https://creativecommons.org/licenses/by/2.0/" for row in rows.values())


def test_of_cocos_own_files_the_instances_count(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "val2017" / "1.jpg")
    text(tmp_path / "in" / "annotations" / "instances_val2017.json", coco(["1.jpg"]))
    text(tmp_path / "in" / "annotations" / "person_keypoints_val2017.json", coco(["1.jpg"]).replace("Cat", "person"))
    assert run(tmp_path / "raw", tmp_path / "in")["val2017__1"]["boxes"] == [HALF]


def test_coco_labels_beside_a_splits_folder_are_found(tmp_path: Path) -> None:
    for name in ("train2017/1.jpg", "val2017/2.jpg"):
        picture(tmp_path / "in" / name)
    text(tmp_path / "in" / "annotations" / "instances_train2017.json", coco(["1.jpg"]))
    text(tmp_path / "in" / "annotations" / "instances_val2017.json", coco(["2.jpg"]))
    rows = run(tmp_path / "raw", tmp_path / "in" / "train2017", max_missing=0.0)
    assert rows["1"]["boxes"] == [HALF] and rows["1"]["source_split"] == "train"


def test_unusable_coco_boxes_cost_only_themselves(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "1.jpg")
    document = json.loads(coco(["1.jpg"]))
    corners = {1: [40, 0, 5, 5], 2: [0, 0, 0, 5], 3: None, 4: [-10, -5, 30, 15]}
    for number, box in corners.items():
        document["annotations"].append({"id": number, "image_id": 0, "category_id": 7, "bbox": box, "iscrowd": 1})
    document["annotations"].append({"id": 5, "image_id": 0, "category_id": 8, "bbox": [0, 0, 9, 9]})
    for number in (6, 7):
        document["annotations"].append({"id": number, "image_id": 99, "category_id": 7, "bbox": [0, 0, 9, 9]})
    text(tmp_path / "in" / "labels.json", json.dumps(document))
    row = run(tmp_path / "raw", tmp_path / "in")["1"]
    assert row["boxes"] == [HALF, Box(0.0, 0.0, 0.5, 0.5, "Cat", is_group_of=True)]
    folder = report(tmp_path / "raw")["folders"][0]
    assert folder["annotations_of_unknown_pictures"] == 2
    assert (folder["boxes_clipped"], folder["crowd_boxes"]) == (1, len(corners) - 1), "bbox null has no box to count"
    problems = folder["label_problems"]
    assert len(problems) == 4 and all(problem["labels"].endswith("1.jpg") for problem in problems)


def test_a_truncated_picture_keeps_its_labels(tmp_path: Path) -> None:
    truncated = picture(tmp_path / "coco" / "1.jpg")
    truncated.write_bytes(truncated.read_bytes()[:200])
    text(tmp_path / "coco" / "labels.json", coco(["1.jpg"]))
    assert run(tmp_path / "raw", tmp_path / "coco")["1"]["boxes"] == [HALF]
    text(tmp_path / "coco" / "1.jpg", "no picture at all")
    picture(tmp_path / "coco" / "2.jpg")
    text(tmp_path / "coco" / "labels.json", coco(["1.jpg", "2.jpg"], width=None))  # to be read from the picture
    rows = run(tmp_path / "raw", tmp_path / "coco")
    assert rows["1"]["boxes"] == [] and rows["2"]["boxes"] == [HALF]
    (problem,) = report(tmp_path / "raw")["folders"][0]["label_problems"]
    assert "size" in problem["reason"]


@pytest.mark.parametrize("labels", ["{", "[]", '{"images": [{"id": 1}], "annotations": []}'])
def test_a_damaged_coco_file_is_named(tmp_path: Path, labels: str) -> None:
    picture(tmp_path / "in" / "1.jpg")
    text(tmp_path / "in" / "labels.json", labels + ' "images" "annotations" "bbox"')
    with pytest.raises(DatasetError, match=r"labels\.json is not a COCO label file"):
        run(tmp_path / "raw", tmp_path / "in")


def test_labels_without_pictures_are_listed_and_too_many_end_it(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.jpg")
    text(tmp_path / "in" / "labels.json", coco(["0.jpg", "1.jpg", "2.jpg", "gone.jpg"]))
    with pytest.raises(DatasetError, match=r"1 of 4 labelled pictures \(25.0%\) are not in the folders, gone.jpg"):
        run(tmp_path / "raw", tmp_path / "in")
    run(tmp_path / "raw", tmp_path / "in", max_missing=0.25)
    assert [entry["picture"] for entry in report(tmp_path / "raw")["missing"]] == ["gone.jpg"]


def test_of_so_many_labelled_counts_the_labelled(tmp_path: Path) -> None:
    for number in range(20):
        picture(tmp_path / "in" / f"{number}.jpg")
    text(tmp_path / "in" / "labels.json", coco(["0.jpg", "1.jpg", "2.jpg", "gone.jpg"]))
    with pytest.raises(DatasetError, match=r"1 of 4 labelled pictures \(25.0%\)"):
        run(tmp_path / "raw", tmp_path / "in", max_missing=0.1)


def test_labels_of_other_pictures_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "1.jpg")
    text(tmp_path / "in" / "labels.json", coco(["other.jpg"]))
    with pytest.raises(DatasetError, match="about none of its pictures"):
        run(tmp_path / "raw", tmp_path / "in", max_missing=1.0)
    assert run(tmp_path / "raw", tmp_path / "in", labels="none")["1"]["boxes"] == []


CAT = {"id": 7, "name": "Cat"}


@pytest.mark.parametrize(
    "change",
    [
        {"images": {"id": "0"}},
        {"images": {"id": "000000"}},
        {"annotations": {"image_id": "0"}},
        {"annotations": {"category_id": "7"}},
        {"annotations": {"category_id": 7.0, "image_id": 0.0}},
        {"annotations": {"bbox": ["0", "0", "20.0", "10"]}},
        {"annotations": {"bbox": "[0, 0, 20, 10]"}},
        {"annotations": {"bbox": None, "segmentation": [[0, 0, 20, 0, 20, 10, 0, 10]]}},
        {"images": {"width": "40px", "height": "20 px"}},
        {"images": {"width": "40", "height": 20.0}},
        {"images": {"width": "wide", "height": None}},  # so that the picture's own size counts
        {"categories": {"7": "Cat"}},
        {"categories": {"Cat": 7}},
        {"categories": {"7": {"name": "Cat"}}},
        {"categories": CAT},
        {"categories": [{"id": "7", "name": "Cat"}]},
        {"categories": [{"name": "Cat"}], "annotations": {"category_id": "Cat"}},
        {"categories": ["Dog", "Cat"], "annotations": {"category_id": 1}},
        {"categories": [CAT, "strange", {"supercategory": "none"}]},
        {"licenses": "CC BY 4.0"},
        {"images": {"flickr_url": 7, "coco_url": None, "license": ["CC"]}},
        {"licenses": ["CC BY 4.0", {"id": 1}]},
        {"licenses": {"id": 1}, "images": {"license": "CC BY 4.0"}},
    ],
)
def test_coco_as_people_write_it(tmp_path: Path, change: dict[str, Any]) -> None:
    picture(tmp_path / "in" / "1.jpg")
    document = json.loads(coco(["1.jpg"]))
    for table, values in change.items():
        if table in ("images", "annotations"):
            document[table][0] |= values
        else:
            document[table] = values
    text(tmp_path / "in" / "labels.json", json.dumps(document))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == [HALF]


@pytest.mark.parametrize(
    ("licences", "stated", "expected"),
    [
        ("CC BY 4.0", None, "CC BY 4.0"),
        ([], "CC BY 4.0", "CC BY 4.0"),
        ([{"id": 1, "name": "CC BY"}], "1", "CC BY"),
        (["CC BY"], 1, None),
    ],
)
def test_licences_as_text(tmp_path: Path, licences: Any, stated: Any, expected: str | None) -> None:
    picture(tmp_path / "in" / "1.jpg")
    document = json.loads(coco(["1.jpg"], license=stated))
    text(tmp_path / "in" / "labels.json", json.dumps(document | {"licenses": licences}))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["licence"] == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "gb18030", "latin-1"])
def test_coco_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    picture(tmp_path / "in" / "1.jpg")
    name = "Katze für é" if encoding == "latin-1" else "猫咪"
    document = coco(["1.jpg"]).replace('"images"', f'"info": "{name}", "images"', 1)
    (tmp_path / "in" / "labels.json").write_bytes(document.encode(encoding))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == [HALF]


@pytest.mark.parametrize(
    ("on_disk", "named"),
    [
        (unicodedata.normalize("NFD", "Müller.jpg"), unicodedata.normalize("NFC", "Müller.jpg")),
        (unicodedata.normalize("NFC", "Müller.jpg"), unicodedata.normalize("NFD", "Müller.jpg")),
        ("IMG_1.JPG", "img_1.jpg"),
        ("img_1.jpg", "IMG_1.JPG"),
        ("my photo.jpg", "my%20photo.jpg"),
        ("my photo.jpg", "https://example.org/a/my%20photo.jpg?size=large"),
        ("100%20.jpg", "100%20.jpg"),
        ("sub/my photo.jpg", "C:\\data\\Sub\\my photo.jpg"),
    ],
)
def test_names_that_differ_in_case_composition_or_escapes(tmp_path: Path, on_disk: str, named: str) -> None:
    picture(tmp_path / "in" / on_disk)
    text(tmp_path / "in" / "labels.json", coco([named]))
    (row,) = run(tmp_path / "raw", tmp_path / "in").values()
    assert row["boxes"] == [HALF]


def test_a_name_of_the_right_case_goes_before_one_of_another(tmp_path: Path) -> None:
    for name in ("a.jpg", "A.jpg", "sub/A.jpg"):
        picture(tmp_path / "in" / name)
    text(tmp_path / "in" / "labels.json", coco(["A.jpg"]))
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert {name for name, row in rows.items() if row["boxes"]} == {"A"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"categories": [{"name": "Cat"}]}, "the labels name no category 7"),
        ({"categories": None}, "the labels name no category 7"),
        ({"annotations": []}, "its coco labels yield no box; correct them, or set dataset.directory.labels to none"),
        ({"images": [{"id": 5, "file_name": "1.jpg"}]}, "yield no box"),
    ],
)
def test_coco_without_any_box_is_an_error(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    picture(tmp_path / "in" / "1.jpg")
    text(tmp_path / "in" / "labels.json", json.dumps(json.loads(coco(["1.jpg"])) | change))
    with pytest.raises(DatasetError, match=reason) as caught:
        run(tmp_path / "raw", tmp_path / "in")
    assert "\n" not in str(caught.value)
    assert run(tmp_path / "raw", tmp_path / "in", labels="none")["1"]["boxes"] == []


def test_panoptic_labels_have_their_boxes_in_segments(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "images" / "1.jpg")
    document = json.loads(coco(["1.jpg"]))
    segment = document["annotations"].pop()
    document["annotations"] = [{"image_id": 0, "file_name": "1.png", "segments_info": [segment, "broken"]}]
    text(tmp_path / "in" / "Annotations" / "panoptic_val.json", json.dumps(document))
    for root in (tmp_path / "in", tmp_path / "in" / "images"):
        (row,) = run(tmp_path / "raw", root).values()
        assert row["boxes"] == [HALF]
