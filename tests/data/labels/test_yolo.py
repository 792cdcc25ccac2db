"""YOLO: layouts and habits that people's files have, each box found or counted."""

from pathlib import Path

import pytest
from labelled_folders import HALF, YOLO_ROW, coco, picture, report, run, text

from balle_li.boxes import Box
from balle_li.errors import DatasetError


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
def test_yolo_layouts(tmp_path: Path, layout: dict[str, str]) -> None:
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


def test_a_yolo_split_finds_its_labels_and_names(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / "in" / "images" / split / "1.jpg")
        text(tmp_path / "in" / "labels" / split / "1.txt", YOLO_ROW)
    text(tmp_path / "in" / "data.yaml", "names: [Dog, Cat]")
    rows = run(tmp_path / "raw", tmp_path / "in" / "images" / "train")
    assert [row["boxes"] for row in rows.values()] == [[HALF]]


def test_each_label_file_has_the_nearest_class_names(tmp_path: Path) -> None:
    sets = {"cars": ("data.yaml", "names: [car, truck]"), "dogs": ("train/data.yaml", "names: [dog, cat]")}
    sets |= {"fruit": ("train/images/classes.txt", "apple\npear")}  # beside the way up from train/labels
    for name, (place, content) in sets.items():
        picture(tmp_path / "in" / name / "train" / "images" / "1.jpg")
        text(tmp_path / "in" / name / "train" / "labels" / "1.txt", YOLO_ROW)
        text(tmp_path / "in" / name / "train" / "labels" / "classes.txt", "")  # empty, so it names none
        text(tmp_path / "in" / name / place, content)
    rows = run(tmp_path / "raw", tmp_path / "in")
    labels = {name.split("__")[0]: [box.label for box in row["boxes"]] for name, row in rows.items()}
    assert labels == {"cars": ["truck"], "dogs": ["cat"], "fruit": ["pear"]}


def test_poses_of_one_data_set_are_read_whatever_another_holds(tmp_path: Path) -> None:
    folder(tmp_path / "in" / "poses", f"1 0.25 0.25 0.5 0.5 {'0.1 0.2 2 ' * 24}")
    folder(tmp_path / "in" / "outlines", "1 0 0 0.5 0 0.5 0.5 0 0.5")
    assert [row["boxes"] for row in run(tmp_path / "raw", tmp_path / "in").values()] == [[HALF], [HALF]]


def test_yolo_problems(tmp_path: Path) -> None:
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
    assert {name for name, row in found.items() if row["boxes"] == [HALF]} == {"good", "unknown", "broken", "outline"}
    assert {name for name, row in found.items() if row["boxes"] == []} == {"empty", "unlabelled"}
    problems = report(tmp_path / "raw")["folders"][0]["label_problems"]
    assert {Path(problem["labels"]).stem for problem in problems} == {"unknown", "broken"}
    assert [Path(entry["picture"]).name for entry in report(tmp_path / "raw")["missing"]] == ["orphan.txt"]


def folder(root: Path, *contents: str | bytes, names: str = "names: [Dog, Cat]") -> Path:
    """A YOLO folder with a picture for each text of labels."""
    for number, content in enumerate(contents):
        picture(root / "images" / f"{number}.jpg")
        path = text(root / "labels" / f"{number}.txt", "")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text(root / "data.yaml", names)
    return root


@pytest.mark.parametrize(
    "content",
    [
        "1.000e+00 2.5e-01 2.5e-01 5.0e-01 5.0e-01\n",
        "1.0 0.25 0.25 0.5 0.5",
        "\ufeff1 0.25 0.25 0.5 0.5\n",
        YOLO_ROW.encode("utf-16"),
        "1\t0.25\t0.25\t0.5\t0.5  \r\n\r\n",
        "1,0.25,0.25,0.5,0.5\n",
        "1 0,25 0,25 0,5 0,5\n",
        "1; 0.25; 0.25; 0.5; 0.5\n",
        "# made by hand\n1 0.25 0.25 0.5 0.5\n",
        "1 0.25 0.25 0.5 0.5 0.98\n",  # and a confidence
        "1 0 0 0.5 0 0.5 0.5 0 0.5\n",  # corners
        "1 0 0 0.25 0 0.5 0 0.5 0.5 0.25 0.5 0 0.5 0 0.25\n",  # an outline of seven points
        "Cat 0.25 0.25 0.5 0.5\n",
    ],
)
def test_rows_as_people_write_them(tmp_path: Path, content: str | bytes) -> None:
    rows = run(tmp_path / "raw", folder(tmp_path / "in", content))
    assert rows["images__0"]["boxes"] == [HALF]
    assert report(tmp_path / "raw")["folders"][0]["label_problems"] == []


@pytest.mark.parametrize(
    "names", ["names: {1: Cat, 0: Dog}", "\ufeffnames:\n- Dog\n- Cat\n", "names:\n  '0': Dog\n  '1': Cat\n"]
)
def test_names_as_people_write_them(tmp_path: Path, names: str) -> None:
    assert run(tmp_path / "raw", folder(tmp_path / "in", YOLO_ROW, names=names))["images__0"]["boxes"] == [HALF]


@pytest.mark.parametrize(
    ("pictures", "labels"), [("Images", "Labels"), ("IMAGES/Train", "labels/train"), ("images", "LABELS")]
)
def test_folders_in_any_case(tmp_path: Path, pictures: str, labels: str) -> None:
    picture(tmp_path / "in" / pictures / "a.JPG")
    text(tmp_path / "in" / labels / "A.txt", YOLO_ROW)
    text(tmp_path / "in" / "Data.YAML", "names: [Dog, Cat]")
    (row,) = run(tmp_path / "raw", tmp_path / "in").values()
    assert row["boxes"] == [HALF]
    (alone,) = run(tmp_path / "raw2", tmp_path / "in" / pictures).values()
    assert alone["boxes"] == [HALF]


POINTS = {13: "0.1 0.2 0.3 0.2 0.1 0.3 0.3 0.3", 56: "0.1 0.2 0 " * 17, 77: "0.1 0.2 2 " * 24}


@pytest.mark.parametrize("columns", POINTS)
@pytest.mark.parametrize("shape", [True, False])
def test_poses_have_their_box_first(tmp_path: Path, columns: int, shape: bool) -> None:
    row = f"1 0.25 0.25 0.5 0.5 {POINTS[columns].strip()}"
    assert len(row.split()) == columns
    kpt_shape = {13: "[4, 2]", 56: "[17, 3]", 77: "[24, 3]"}[columns]
    names = "names: [Dog, Cat]\n" + (f"kpt_shape: {kpt_shape}\n" if shape else "")
    rows = run(
        tmp_path / "raw", folder(tmp_path / "in", f"{row}\n{row.replace('0.5 0.5', '0.25 0.25', 1)}", names=names)
    )
    assert rows["images__0"]["boxes"] == [HALF, Box(0.125, 0.125, 0.375, 0.375, "Cat")]


def test_an_outline_of_as_many_points_among_others_is_none(tmp_path: Path) -> None:
    six = "1 0 0 0.25 0 0.5 0 0.5 0.5 0.25 0.5 0 0.5\n"
    other = "0 0 0 0.25 0 0.5 0.5\n"
    rows = run(tmp_path / "raw", folder(tmp_path / "in", six, other))
    assert rows["images__0"]["boxes"] == [HALF] and rows["images__1"]["boxes"] == [Box(0, 0, 0.5, 0.5, "Dog")]


def test_an_outline_that_touches_the_edges_is_no_pose(tmp_path: Path) -> None:
    edges = "1 0 0 0.5 0 0.5 0.5 0 0.25 0 0\n"  # five points, of which what would be visibilities are 0
    other = "1 0 0 0.5 0 0.5 0.3 0.2 0.5 0 0.5\n"
    rows = run(tmp_path / "raw", folder(tmp_path / "in", edges, other))
    assert rows["images__0"]["boxes"] == rows["images__1"]["boxes"] == [HALF]


SQUARE = "0 0 0.5 0 0.5 0.5 0 0.5"


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (f"1 {SQUARE} 0.913", ""),
        (f"1 {SQUARE} 7", ""),
        (f"1 {SQUARE} 0.913 7", ""),
        ("1 0 0 0.5 0 0.5 0.5 0.913", ""),
        ("1 0.25 0.25 0.5 0.5 7", ""),
        ("1 0.25 0.25 0.5 0.5 0.913 7", ""),
        ("1 0.25 0.25 0.5 0.5 0.913 1", ""),
        ("1 0.25 0.25 0.5 0.5 0.1 0.2 0.7 0.3 0.2 0.8 0.2 0.4 0.9", ""),  # a pose with how sure each point is
        ("1 0.25 0.25 0.5 0.5 0.1 0.2 0.7 0.3 0.2 0.8 0.2 0.9 0.9 0.913", "kpt_shape: [3, 3]"),
        ("1 0.25 0.25 0.5 0.5 0.1 0.2 0.7 0.3 0.2 0.8 0.2 0.9 0.9 0.913 7", "kpt_shape: [3, 3]"),
        ("1 0.25 0.25 0.5 0.5 0.1 0.2 0.3 0.2 0.913", "kpt_shape: [2, 2]"),
        ("1 0.25 0.25 0.5 0.5 0.1 0.2 0.3 0.2 0.913 7", "kpt_shape: [2, 2]"),
    ],
)
def test_predictions_have_confidences_and_tracks_behind_them(tmp_path: Path, row: str, names: str) -> None:
    content = folder(tmp_path / "in", row, names=f"names: [Dog, Cat]\n{names}")
    assert run(tmp_path / "raw", content)["images__0"]["boxes"] == [HALF]
    assert report(tmp_path / "raw")["folders"][0]["label_problems"] == []


def test_a_triangle_that_ends_at_the_edge_is_no_tracked_box(tmp_path: Path) -> None:
    rows = run(tmp_path / "raw", folder(tmp_path / "in", "1 0 0.5 0.5 0.5 0.25 1", f"1 {SQUARE}"))
    assert rows["images__0"]["boxes"] == [Box(0.0, 0.5, 0.5, 1.0, "Cat")] and rows["images__1"]["boxes"] == [HALF]


def test_what_cannot_be_used_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contents = [
        "1 0.5 0.5 1.2 0.5\n",
        "1 150 100 40 30\n",
        "1 1.4 0.5 0.1 0.1\n",
        "1 0.5 0.5 0 0\n",
        "1 a b c d\n",
        "1 0.5 0.5\n",
    ]
    rows = run(tmp_path / "raw", folder(tmp_path / "in", *contents))
    assert rows["images__0"]["boxes"] == [Box(0.0, 0.25, 1.0, 0.75, "Cat")]
    folders = report(tmp_path / "raw")["folders"][0]
    assert folders["boxes_clipped"] == 1 and len(folders["label_problems"]) == 5
    assert "is not in fractions of the picture" in folders["label_problems"][0]["reason"]
    assert "5 labels cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (["", "\n"], "its yolo labels yield no box; correct them"),
        (["1 150 100 40 30"], "0.txt: '1 150 100 40 30' is not in fractions of the picture"),
        (["7 0.5 0.5 0.1 0.1"], "there is no class 7 among 2 names"),
        (["a dog on a sofa"], "is no class number with x, y, width and height"),
    ],
)
def test_yolo_without_any_box_is_an_error(tmp_path: Path, contents: list[str], reason: str) -> None:
    folder(tmp_path / "in", *contents)
    for labels in ("auto", "yolo"):
        with pytest.raises(DatasetError, match=reason) as caught:
            run(tmp_path / "raw", tmp_path / "in", labels=labels)
        assert "\n" not in str(caught.value)
    assert not run(tmp_path / "raw", tmp_path / "in", labels="none")["images__0"]["boxes"]


def test_captions_beside_pictures_are_no_labels_but_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "in" / "1.jpg")
    text(tmp_path / "in" / "1.txt", "a dog on a sofa")
    assert run(tmp_path / "raw", tmp_path / "in")["1"]["boxes"] == []
    assert report(tmp_path / "raw")["folders"][0]["labels_not_used"] == ["1.txt"]
    assert "not read, though they may be labels: 1.txt" in caplog.text


def test_labels_in_a_second_format_are_told(tmp_path: Path) -> None:
    folder(tmp_path / "in", YOLO_ROW)
    text(tmp_path / "in" / "labels.json", coco(["0.jpg"]))
    assert run(tmp_path / "raw", tmp_path / "in")["images__0"]["boxes"] == [HALF]
    assert report(tmp_path / "raw")["folders"][0]["labels_not_used"] == ["yolo labels"]


def test_a_label_file_may_have_the_pictures_whole_name(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.b.jpg")
    text(tmp_path / "in" / "a.b.jpg.txt", YOLO_ROW)
    text(tmp_path / "in" / "classes.txt", "Dog\nCat")
    assert run(tmp_path / "raw", tmp_path / "in")["a.b"]["boxes"] == [HALF]


def test_yolo_labels_of_other_pictures_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "images" / "a.jpg")
    text(tmp_path / "in" / "labels" / "b.txt", YOLO_ROW)
    text(tmp_path / "in" / "data.yaml", "names: [Dog, Cat]")
    with pytest.raises(DatasetError, match=r"about none of its pictures \(they name '.*b\.txt'"):
        run(tmp_path / "raw", tmp_path / "in")
