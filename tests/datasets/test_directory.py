import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from labelled_folders import picture, report, run, text

from balle_li.datasets import directory
from balle_li.datasets.raw_folder import own_path
from balle_li.datasets.sources import DirectoryConfig
from balle_li.errors import DatasetError


def test_plain_folders_are_taken_with_all_their_subfolders(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a b.JPG")
    picture(tmp_path / "in" / "train" / "ü.png")
    picture(tmp_path / "in" / ".hidden" / "x.png")
    text(tmp_path / "in" / "notes.txt", "not a picture")
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert {(row["image_id"], row["path"], row["source_split"]) for row in rows.values()} == {
        ("a_b", "images/a_b.jpg", None),
        ("train___", "images/train___.png", "train"),
    }
    assert all((tmp_path / "raw" / row["path"]).is_file() for row in rows.values())
    assert report(tmp_path / "raw")["folders"][0]["labels"] == "none"


def test_the_users_own_paths_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "holiday" / "a b.jpg")
    run(tmp_path / "raw", tmp_path / "in")
    own = own_path(tmp_path / "raw")
    assert own("images/holiday__a_b.jpg") == str(tmp_path / "in" / "holiday" / "a b.jpg")
    assert own("images/other.jpg") == "images/other.jpg"


def test_equal_names_do_not_collide_and_ids_stay_when_a_folder_is_added(tmp_path: Path) -> None:
    for name in ("one/a.png", "one/a.jpg", "two/a.png"):
        picture(tmp_path / name)
    alone = run(tmp_path / "raw", tmp_path / "one")
    both = run(tmp_path / "raw", tmp_path / "one", tmp_path / "two")
    assert set(alone) == {"a", "a-2"} and set(both) == {"a", "a-2", "a-3"}
    assert all(both[image_id] == row for image_id, row in alone.items())


def test_the_same_picture_is_taken_once(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "sub" / "a.png")
    assert set(run(tmp_path / "raw", tmp_path / "in", tmp_path / "in" / "sub")) == {"sub__a"}


def test_relative_folders_start_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "pictures" / "a.png")
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    directory.download(DirectoryConfig(["../pictures"], "auto"), 0.0, tmp_path / "raw")
    assert (tmp_path / "raw" / "images" / "a.png").is_file()


def test_the_target_folder_is_no_source_of_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for _ in range(2):
        assert set(run(tmp_path / "data" / "01_raw", tmp_path)) == {"a"}


def test_copies_are_no_links_and_are_not_made_twice(tmp_path: Path) -> None:
    source = picture(tmp_path / "in" / "a.png")
    run(tmp_path / "raw", tmp_path / "in")
    copy = tmp_path / "raw" / "images" / "a.png"
    before = copy.stat()
    assert not copy.is_symlink() and before.st_ino != source.stat().st_ino
    run(tmp_path / "raw", tmp_path / "in")
    assert copy.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("prepare", "labels", "message"),
    [
        (lambda folder: None, "auto", "does not exist"),
        (lambda folder: text(folder, ""), "auto", "is not a folder"),
        (lambda folder: text(folder / "notes.txt", ""), "auto", "holds no pictures"),
        (lambda folder: picture(folder / "a.png"), "coco", "no labels of the kind 'coco'; expected are JSON"),
        (lambda folder: picture(folder / "a.png"), "yolo", "no labels of the kind 'yolo'"),
        (lambda folder: picture(folder / "a.png"), "voc", "no labels of the kind 'voc'"),
        (lambda folder: picture(folder / "a.png"), "open-images", "no labels of the kind 'open-images'"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(
    tmp_path: Path, prepare: Any, labels: str, message: str
) -> None:
    prepare(tmp_path / "in")
    with pytest.raises(DatasetError, match=message) as caught:
        run(tmp_path / "raw", tmp_path / "in", labels=labels)
    assert "\n" not in str(caught.value)


def test_the_shared_photographs(tmp_path: Path, shared: Path, mongo: str) -> None:
    whole = run(tmp_path / "whole", shared / "labelled-photos")
    assert (len(whole), sum(len(row["boxes"]) for row in whole.values())) == (192, 1369)
    assert Counter(row["source_split"] for row in whole.values()) == {"train": 152, "validation": 20, "test": 20}
    train = run(tmp_path / "train", shared / "labelled-photos" / "images" / "train")
    assert (len(train), sum(len(row["boxes"]) for row in train.values())) == (152, 1087)
    assert all(row["boxes"] == whole[f"images__train__{image_id}"]["boxes"] for image_id, row in train.items())


def test_broken_shared_photographs_are_left_to_curate(tmp_path: Path, shared: Path, mongo: str) -> None:
    source = shared / "labelled-photos"
    (tmp_path / "in" / "images").mkdir(parents=True)
    os.symlink(source / "metadata", tmp_path / "in" / "metadata")
    names = sorted(os.listdir(source / "images" / "test"))[:3]
    truncated, replaced, whole = (tmp_path / "in" / "images" / name for name in names)
    truncated.write_bytes((source / "images" / "test" / names[0]).read_bytes()[:3000])
    replaced.write_text("<html>404</html>", encoding="utf-8")
    whole.write_bytes((source / "images" / "test" / names[2]).read_bytes())
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert [row["path"] for row in rows.values()] == [f"images/images__{name}" for name in names]
    assert all(row["boxes"] for row in rows.values())
