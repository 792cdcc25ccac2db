"""The pictures that are measured: the test split, folders of one's own, and the digest that tells sets apart."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from evaluation.stages import SIZES, evaluated, facts_of, table_of
from PIL import Image

from balle_li.data.manifest import write_manifest
from balle_li.errors import ConfigError, StageError
from balle_li.evaluation import test_set
from balle_li.evaluation.codecs import Jpeg


def test_other_folders_are_measured_for_themselves(stages: Path) -> None:
    (stages / "more" / "deep").mkdir(parents=True)
    for name in ("large", "small"):
        shutil.copy(stages / "raw" / f"{name}.png", stages / "more" / "deep")
    report = evaluated(stages, extra_sets={"kodak": "more"}, codecs=["webp"])
    frame = table_of(report / "sets" / "kodak")
    assert set(frame["image_id"]) == {"deep-large_png", "deep-small_png"} and set(frame["codec"]) >= {"jpeg", "webp"}
    assert (report / "sets" / "kodak" / "examples" / "deep-large_png" / "model.webp").is_file()
    assert set(table_of(report)["image_id"]) == set(SIZES)


def test_what_a_mac_leaves_in_a_folder_is_skipped_counted_and_said(
    stages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = stages / "more"
    (more / ".Spotlight").mkdir(parents=True)
    shutil.copy(stages / "raw" / "large.png", more / "photo.png")
    shutil.copy(stages / "raw" / "large.png", more / ".Spotlight" / "photo.png")
    (more / "._photo.png").write_bytes(b"\0\5\x16\7" + bytes(100))
    for name in ("readme.pdf", "clip.mov", "clip.mpeg", "broken.jpg", "notes.txt"):
        (more / name).write_bytes(b"%PDF-1.4 or other")
    report = evaluated(stages, extra_sets={"mine": "more"})
    assert set(table_of(report / "sets" / "mine")["image_id"]) == {"photo_png"}
    assert facts_of(report / "sets" / "mine")["skipped_files"] == {"hidden": 2, "unreadable": 3, "no picture": 2}
    for part in ("2 hidden (.", "3 unreadable (broken.jpg: ", "2 no picture (clip.mov, …)"):
        assert part in caplog.text


def test_ids_of_a_folders_pictures_are_told_apart_and_fit_into_file_names(stages: Path) -> None:
    (stages / "more" / "a").mkdir(parents=True)
    names = ["a/b.png", "a-b.png", "x" * 240 + ".png", "caf\udce9.png"]  # the last is Latin-1 on the disk
    for name in names:
        shutil.copy(stages / "raw" / "small.png", stages / "more" / name)
    frame = table_of(evaluated(stages, extra_sets={"mine": "more"}) / "sets" / "mine")
    found = sorted(set(frame["image_id"]))
    assert len(found) == 4 and all(len(name) <= 130 for name in found) and "caf\\xe9_png" in found


def test_linked_folders_are_measured_too(stages: Path) -> None:
    (stages / "more").mkdir()
    shutil.copy(stages / "raw" / "small.png", stages / "more" / "own.png")
    (stages / "more" / "linked").symlink_to(stages / "raw", target_is_directory=True)
    (stages / "more" / ".first").symlink_to(stages / "raw", target_is_directory=True)
    (stages / "more" / "gone.png").symlink_to("nowhere")
    found = test_set.PictureSet.folder("mine", str(stages / "more"))
    linked = [f"linked/{name}.png" for name in ("large", "portrait", "small", "train")]
    assert [row["path"] for row in found.rows] == [*linked, "own.png"]
    assert found.skipped == {"hidden": [".first"], "no picture": ["gone.png"]}


def test_a_folder_that_cannot_be_read_is_skipped_and_said(
    stages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (stages / "more" / "locked").mkdir(parents=True)
    shutil.copy(stages / "raw" / "small.png", stages / "more")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # the mode 000 does not stop root
    found = test_set.PictureSet.folder("mine", str(stages / "more"))
    assert found.skipped == {"unreadable folder": ["locked: Permission denied"]}
    assert "1 unreadable folder (locked: Permission denied)" in caplog.text


def test_ids_of_long_names_in_any_script_fit_into_file_names(tmp_path: Path) -> None:
    folder = tmp_path / ("风景照片" * 15) / ("清晨的湖面" * 7)
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "山水.png")
    (row,) = test_set.PictureSet.folder("mine", str(tmp_path)).rows
    (tmp_path / f"{row['image_id']}.bli").touch()
    assert row["image_id"].startswith("风景照片风景照片")


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_pictures_is_one_line(stages: Path, there: bool) -> None:
    if there:
        (stages / "kodak").mkdir()
    with pytest.raises(ConfigError, match=r"evaluate\.extra_sets\.kodak: kodak .*; correct it, or take it out"):
        evaluated(stages, extra_sets={"kodak": "kodak"})


def test_no_test_picture_says_what_to_change(stages: Path) -> None:
    write_manifest(stages / "curated" / "manifest.parquet", [])
    with pytest.raises(StageError, match=r"curate\.split\.test"):
        evaluated(stages)


def test_digest_depends_on_the_pictures_alone(stages: Path) -> None:
    rows = test_set.read_rows(stages / "curated")
    assert test_set.digest(rows[::-1]) == test_set.digest(rows)
    assert test_set.digest(rows[1:]) != test_set.digest(rows)
    assert test_set.digest([{**rows[0], "boxes": []}, *rows[1:]]) == test_set.digest(rows)
    assert test_set.digest([{**rows[0], "sha256": "0"}, *rows[1:]]) != test_set.digest(rows)


def test_pictures_that_published_curves_are_of_are_known_by_their_pixels(shared: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((shared / "kodak").glob("*.png"))):
        with Image.open(path) as image:
            image.save(tmp_path / f"{number:02d}.webp", lossless=True, method=0)

    def known_as() -> str | None:
        return test_set.known_as(test_set.PictureSet.folder("some", str(tmp_path)))

    assert known_as() == "kodak", "their names and their format are others"
    first = tmp_path / "00.webp"
    with Image.open(first) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first, lossless=True, method=0)
    assert known_as() is None, "one is another picture"
    shutil.copy(tmp_path / "01.webp", first)
    assert known_as() is None, "one is there twice"
    first.unlink()
    assert known_as() is None, "one is missing"


def test_the_evaluation_says_whether_they_are_known(
    stages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(test_set, "known_as", lambda pictures: f"{len(pictures.rows)} pictures")
    assert facts_of(evaluated(stages))["known_as"] == "3 pictures"
    monkeypatch.setattr(Jpeg, "largest_side", 190)
    assert facts_of(evaluated(stages, jpeg_qualities=[9]))["known_as"] is None
    assert "test: published curves are of all 3 pictures; not all are compared" in caplog.text
