import json
from pathlib import Path

import pytest
from labelled_folders import HALF, YOLO_ROW, coco, open_images_tree, picture, report, run, text, voc

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
def test_coco_layouts(tmp_path: Path, mongo: str, layout: dict[str, str]) -> None:
    for name, labels in layout.items():
        picture(tmp_path / "in" / name)
        text(tmp_path / "in" / labels, coco(["1.jpg"]))
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert len(rows) == len(layout)
    assert all(row["boxes"] == [HALF] for row in rows.values())
    assert all(row["licence"] == "https://creativecommons.org/licenses/by/2.0/" for row in rows.values())


def test_of_cocos_own_files_the_instances_count(tmp_path: Path, mongo: str) -> None:
    picture(tmp_path / "in" / "val2017" / "1.jpg")
    text(tmp_path / "in" / "annotations" / "instances_val2017.json", coco(["1.jpg"]))
    text(tmp_path / "in" / "annotations" / "person_keypoints_val2017.json", coco(["1.jpg"]).replace("Cat", "person"))
    assert run(tmp_path / "raw", tmp_path / "in")["val2017__1"]["boxes"] == [HALF]


def test_coco_labels_beside_a_splits_folder_are_found(tmp_path: Path, mongo: str) -> None:
    for name in ("train2017/1.jpg", "val2017/2.jpg"):
        picture(tmp_path / "in" / name)
    text(tmp_path / "in" / "annotations" / "instances_train2017.json", coco(["1.jpg"]))
    text(tmp_path / "in" / "annotations" / "instances_val2017.json", coco(["2.jpg"]))
    rows = run(tmp_path / "raw", tmp_path / "in" / "train2017", max_missing=0.0)
    assert rows["1"]["boxes"] == [HALF] and rows["1"]["source_split"] == "train"


def test_unusable_coco_boxes_cost_only_themselves(tmp_path: Path, mongo: str) -> None:
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


def test_a_truncated_picture_keeps_its_labels(tmp_path: Path, mongo: str) -> None:
    truncated = picture(tmp_path / "coco" / "1.jpg")
    truncated.write_bytes(truncated.read_bytes()[:200])
    text(tmp_path / "coco" / "labels.json", coco(["1.jpg"]))
    assert run(tmp_path / "raw", tmp_path / "coco")["1"]["boxes"] == [HALF]
    text(tmp_path / "coco" / "1.jpg", "no picture at all")
    text(tmp_path / "coco" / "labels.json", coco(["1.jpg"], width=None))  # its size has to be read from the picture
    assert run(tmp_path / "raw", tmp_path / "coco")["1"]["boxes"] == []
    (problem,) = report(tmp_path / "raw")["folders"][0]["label_problems"]
    assert "size" in problem["reason"]


@pytest.mark.parametrize("labels", ["{", "[]", '{"images": [{"id": 1}], "annotations": []}'])
def test_a_damaged_coco_file_is_named(tmp_path: Path, labels: str) -> None:
    picture(tmp_path / "in" / "1.jpg")
    text(tmp_path / "in" / "labels.json", labels + ' "images" "annotations" "bbox"')
    with pytest.raises(DatasetError, match=r"labels\.json is not a COCO label file"):
        run(tmp_path / "raw", tmp_path / "in")


def test_labels_without_pictures_are_listed_and_too_many_end_it(tmp_path: Path, mongo: str) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.jpg")
    text(tmp_path / "in" / "labels.json", coco(["0.jpg", "1.jpg", "2.jpg", "gone.jpg"]))
    with pytest.raises(DatasetError, match=r"1 of 4 labelled pictures \(25.0%\) are not in the folders, gone.jpg"):
        run(tmp_path / "raw", tmp_path / "in")
    run(tmp_path / "raw", tmp_path / "in", max_missing=0.25)
    assert [entry["picture"] for entry in report(tmp_path / "raw")["missing"]] == ["gone.jpg"]


def test_of_so_many_labelled_counts_the_labelled(tmp_path: Path, mongo: str) -> None:
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


@pytest.mark.parametrize(
    "layout",
    [
        {
            "images/train/1.jpg": "labels/train/1.txt",
            "images/val/1.jpg": "labels/val/1.txt",
            "data.yaml": "names: [Dog, Cat]",
        },
        {"train/images/1.jpg": "train/labels/1.txt", "data.yaml": "nc: 2\nnames: ['Dog', 'Cat']"},  # Roboflow
        {"images/1.jpg": "labels/1.txt", "dataset.yaml": "names: {0: Dog, 1: Cat}"},  # Ultralytics
        {"images/1.jpg": "labels/1.txt", "classes.txt": "Dog\nCat\n"},  # Label Studio
        {"data/1.jpg": "data/1.txt", "obj.names": "Dog\nCat\n"},  # Darknet, FiftyOne
    ],
)
def test_yolo_layouts(tmp_path: Path, mongo: str, layout: dict[str, str]) -> None:
    pictures = 0
    for name, content in layout.items():
        if name.endswith(".jpg"):
            picture(tmp_path / "in" / name)
            text(tmp_path / "in" / content, YOLO_ROW)
            pictures += 1
        else:
            text(tmp_path / "in" / name, content)
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert len(rows) == pictures
    assert all(row["boxes"] == [HALF] for row in rows.values())


def test_a_yolo_split_finds_its_labels_and_names(tmp_path: Path, mongo: str) -> None:
    for split in ("train", "val"):
        picture(tmp_path / "in" / "images" / split / "1.jpg")
        text(tmp_path / "in" / "labels" / split / "1.txt", YOLO_ROW)
    text(tmp_path / "in" / "data.yaml", "names: [Dog, Cat]")
    rows = run(tmp_path / "raw", tmp_path / "in" / "images" / "train")
    assert [row["boxes"] for row in rows.values()] == [[HALF]]


def test_yolo_problems(tmp_path: Path, mongo: str) -> None:
    rows = {
        "good": YOLO_ROW,
        "unknown": YOLO_ROW + "9 0.5 0.5 0.1 0.1\n",
        "broken": YOLO_ROW + "one two\n",
        "empty": "",
    }
    rows["outline"] = "1 0 0 0.5 0 0.5 0.5 0 0.5\n"
    for name, content in rows.items():
        picture(tmp_path / "in" / "images" / f"{name}.jpg")
        text(tmp_path / "in" / "labels" / f"{name}.txt", content)
    text(tmp_path / "in" / "labels" / "orphan.txt", YOLO_ROW)
    picture(tmp_path / "in" / "images" / "unlabelled.jpg")
    with pytest.raises(DatasetError, match=r"put a classes\.txt"):
        run(tmp_path / "raw", tmp_path / "in")
    text(tmp_path / "in" / "classes.txt", "Dog\nCat")
    found = run(tmp_path / "raw", tmp_path / "in" / "images", max_missing=0.5)
    assert {name for name, row in found.items() if row["boxes"] == [HALF]} == {"good", "unknown", "outline"}
    assert {name for name, row in found.items() if row["boxes"] == []} == {"broken", "empty", "unlabelled"}
    problems = report(tmp_path / "raw")["folders"][0]["label_problems"]
    assert {Path(problem["labels"]).stem for problem in problems} == {"unknown", "broken"}
    assert [Path(entry["picture"]).name for entry in report(tmp_path / "raw")["missing"]] == ["orphan.txt"]


def test_voc(tmp_path: Path, mongo: str) -> None:
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
    ("orientation", "expected"),
    [(1, HALF), (3, Box(0.5, 0.5, 1.0, 1.0, "Cat")), (6, Box(0.0, 0.5, 0.5, 1.0, "Cat"))],
)
def test_boxes_drawn_on_a_turned_picture_come_back_to_its_stored_pixels(
    tmp_path: Path, mongo: str, orientation: int, expected: Box
) -> None:
    picture(tmp_path / "in" / "images" / "1.jpg", orientation)
    text(tmp_path / "in" / "labels" / "1.txt", YOLO_ROW)
    text(tmp_path / "in" / "classes.txt", "Dog\nCat")
    assert run(tmp_path / "raw", tmp_path / "in")["images__1"]["boxes"] == [expected]


def test_boxes_drawn_on_stored_pixels_stay(tmp_path: Path, mongo: str) -> None:
    picture(tmp_path / "in" / "1.jpg", orientation=6)  # upright 20 by 40, but the labels say 40 by 20
    text(tmp_path / "in" / "labels.json", coco(["1.jpg"]))
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == [HALF]


@pytest.mark.parametrize(("rotation", "expected"), [("90.0", 90.0), ("", 0.0), ("nan", 0.0)])
def test_open_images_as_fiftyone_lays_it_out(tmp_path: Path, mongo: str, rotation: str, expected: float) -> None:
    image_id = "0000000000000001"  # digits alone
    open_images_tree(tmp_path / "in" / "train", image_id, rotation)
    row = run(tmp_path / "raw", tmp_path / "in", max_missing=0.0)[f"train__data__{image_id}"]
    assert row["boxes"] == [Box(0.0, 0.0, 0.5, 0.5, "Cat", is_group_of=True)]
    assert (row["author"], row["title"], row["source_url"]) == ("Doe, Jane", "A cat", "https://flic.kr/1")
    assert row["licence"] == "https://creativecommons.org/licenses/by/2.0/"
    assert (row["rotation"], row["source_split"]) == (expected, "train")
    folder = report(tmp_path / "raw")["folders"][0]
    assert folder["labels_without_picture_first"] == ["0000000000000009"]
    assert [problem["labels"] for problem in folder["label_problems"]] == ["/m/none"]
    assert "Doe, Jane" in (tmp_path / "raw" / "ATTRIBUTION.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels/detections.csv", "ImageID,LabelName\na,/m/01yrx\n", "it has no column XMin"),
        ("labels/detections.csv", "", "damaged or cut short"),
        ("labels/detections.csv", "ImageID,LabelName,XMin,XMax,YMin,YMax\na,/m/01yrx,0,0.5\n", "damaged or cut short"),
        ("metadata/classes.csv", "", "without class names"),
    ],
)
def test_damaged_open_images_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    open_images_tree(tmp_path / "in", "a", "0")
    text(tmp_path / "in" / name, content)
    with pytest.raises(DatasetError, match=message):
        run(tmp_path / "raw", tmp_path / "in")
