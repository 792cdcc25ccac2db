import csv
import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from balle_li.data.manifest import read_index
from balle_li.data.sources import sample
from balle_li.errors import DatasetError


def test_every_picture_is_what_its_entry_says() -> None:
    for image_id, picture in sample.catalogue().items():
        with Image.open(sample.locate(picture)) as image:
            image.load()
            assert image.size == (picture["width"], picture["height"]), image_id
            assert min(image.size) >= 256, image_id


def test_every_box_is_inside_its_picture_and_names_a_class_of_open_images(shared: Path) -> None:
    table = shared / "labelled-photos" / "metadata" / "v5" / "class-descriptions-boxable.csv"
    with open(table, encoding="utf-8", newline="") as file:
        classes = {row[1] for row in csv.reader(file)}
    for image_id, picture in sample.catalogue().items():
        for entry, box in zip(picture["boxes"], sample.boxes_of(picture), strict=True):
            xmin, ymin, xmax, ymax = entry["corners"]
            assert 0 <= xmin < xmax <= picture["width"] and 0 <= ymin < ymax <= picture["height"], (image_id, entry)
            assert box.label in classes, (image_id, box.label)


def test_every_picture_states_its_licence_and_author() -> None:
    for image_id, picture in sample.catalogue().items():
        assert picture["licence"] and picture["author"], image_id


def test_boxes_are_normalised_with_their_flags() -> None:
    box = next(box for box in sample.boxes_of(sample.catalogue()["astronaut"]) if box.label == "Rocket")
    assert box.is_depiction and not box.is_group_of
    assert (box.xmin, box.ymin, box.xmax) == (354 / 512, 0, 458 / 512)


def test_download_brings_pictures_labels_and_attribution(tmp_path: Path) -> None:
    sample.Sample().download(tmp_path, 0, 0.0)
    rows = read_index(tmp_path / "index.parquet")
    assert [row["image_id"] for row in rows] == sorted(sample.catalogue())
    assert {row["path"] for row in rows} == {f"images/{path.name}" for path in (tmp_path / "images").iterdir()}
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["boxes"] == sum(len(row["boxes"]) for row in rows) > 70
    assert report["missing"] == []
    attribution = (tmp_path / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "| chelsea | Chelsea the cat | Stefan van der Walt |" in attribution


def test_a_second_download_gives_the_same_bytes_and_removes_strangers(tmp_path: Path) -> None:
    sample.Sample().download(tmp_path, 0, 0.0)
    before = {name: (tmp_path / name).read_bytes() for name in ("index.parquet", "report.json", "ATTRIBUTION.md")}
    (tmp_path / "images" / "left-by-another-source.png").write_bytes(b"")
    sample.Sample().download(tmp_path, 0, 0.0)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    assert not (tmp_path / "images" / "left-by-another-source.png").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"pip install .*scikit-image"):
        sample.Sample().download(tmp_path, 0, 0.0)
