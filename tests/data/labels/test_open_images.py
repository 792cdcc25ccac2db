"""Open Images: published tables beside pictures."""

from pathlib import Path

import pytest
from labelled_folders import open_images_tree, report, run, text

from balle_li.boxes import Box
from balle_li.errors import DatasetError


@pytest.mark.parametrize(("rotation", "expected"), [("90.0", 90.0), ("", 0.0), ("nan", 0.0), ("upside down", 0.0)])
def test_open_images_as_fiftyone_lays_it_out(tmp_path: Path, rotation: str, expected: float) -> None:
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


def test_an_author_and_a_title_that_are_no_utf8_cost_only_their_odd_letters(tmp_path: Path) -> None:
    open_images_tree(tmp_path / "in", "a", "90.0")
    facts = tmp_path / "in" / "metadata" / "image_ids.csv"
    content = facts.read_text(encoding="utf-8").replace("Doe, Jane", "José").replace("A cat", "Título")
    facts.write_bytes(content.encode("latin-1"))
    (row,) = run(tmp_path / "raw", tmp_path / "in").values()
    assert (row["author"], row["title"], row["rotation"]) == ("Jos\ufffd", "T\ufffdtulo", 90.0)
    assert row["boxes"] == [Box(0.0, 0.0, 0.5, 0.5, "Cat", is_group_of=True)]


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


def test_open_images_tables_without_any_known_class_are_an_error(tmp_path: Path) -> None:
    open_images_tree(tmp_path / "in", "a", "0")
    text(tmp_path / "in" / "metadata" / "classes.csv", "/m/other,Dog\n")
    with pytest.raises(DatasetError, match="the class of 1 boxes has no name in the class descriptions"):
        run(tmp_path / "raw", tmp_path / "in")
