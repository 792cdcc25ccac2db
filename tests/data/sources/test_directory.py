import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from labelled_folders import picture, report, run, text
from PIL import Image

from balle_li.boxes import Box
from balle_li.data.manifest import own_path, read_index
from balle_li.data.sources import directory
from balle_li.data.sources.directory import Directory
from balle_li.errors import DatasetError
from balle_li.files import sha256_file


def test_plain_folders_are_taken_with_all_their_subfolders(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a b.JPG")
    picture(tmp_path / "in" / "train" / "ü.png")
    picture(tmp_path / "in" / ".hidden" / "x.png")
    text(tmp_path / "in" / "notes.txt", "not a picture")
    rows = run(tmp_path / "raw", tmp_path / "in")
    jpeg, png = (sha256_file(tmp_path / "in" / name)[:12] for name in ("a b.JPG", "train/ü.png"))
    assert {(row["image_id"], row["path"], row["source_split"]) for row in rows.values()} == {
        (f"a_b-{jpeg}", f"images/a_b-{jpeg}.jpg", None),
        (f"train-{png}", f"images/train-{png}.png", "train"),
    }
    assert all((tmp_path / "raw" / row["path"]).is_file() for row in rows.values())
    assert report(tmp_path / "raw")["folders"][0]["labels"] == "none"


def test_the_users_own_paths_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "holiday" / "a b.jpg")
    run(tmp_path / "raw", tmp_path / "in")
    own = own_path(tmp_path / "raw")
    (copy,) = (tmp_path / "raw" / "images").iterdir()
    assert own(f"images/{copy.name}") == str(tmp_path / "in" / "holiday" / "a b.jpg")
    assert own("images/other.jpg") == "images/other.jpg"


def ids_by_content(folder: Path) -> dict[str, str]:
    """The id of each picture of a raw folder, by the hash of its file."""
    return {sha256_file(folder / row["path"]): row["image_id"] for row in read_index(folder / "index.parquet")}


def different(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number, 2 * number, 0)).save(path)
    return path


def test_no_picture_that_comes_or_goes_changes_the_id_of_another(tmp_path: Path) -> None:
    names = ["猫咪", "照片", "风景", "山峰", "图像", "a", "A", "sub/a", "sub__a", "a b", "a_b", "x..", "ü", "x" * 200]
    for number, name in enumerate(names):
        different(tmp_path / "in" / f"{name}.png", number)
        different(tmp_path / "in" / f"{name}.bmp", 100 + number)
    before = ids_by_content(run_raw(tmp_path / "raw", tmp_path / "in"))
    assert len(set(before.values())) == 2 * len(names) and all(len(image_id) < 150 for image_id in before.values())
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", image_id) for image_id in before.values())
    different(tmp_path / "in" / "人像.png", 77)
    different(tmp_path / "other" / "a.png", 78)
    (tmp_path / "in" / "照片.bmp").unlink()
    after = ids_by_content(run_raw(tmp_path / "raw", tmp_path / "other", tmp_path / "in"))
    assert len(after) == 2 * len(names) + 1
    assert {content: after[content] for content in before if content in after} == {
        content: image_id for content, image_id in before.items() if content in after
    }


def run_raw(folder: Path, *paths: Path) -> Path:
    run(folder, *paths)
    return folder


def test_the_shared_chinese_names_keep_their_splits(tmp_path: Path, shared: Path) -> None:
    cases = shared / "cases"
    if not (cases / "11-chinese-names").is_dir():
        pytest.skip(f"no shared cases at {cases}")
    few = ids_by_content(run_raw(tmp_path / "few", cases / "11-chinese-names"))
    shutil.copytree(cases / "11-chinese-names", tmp_path / "in")
    shutil.copytree(cases / "11-chinese-names-one-more", tmp_path / "in", dirs_exist_ok=True)
    more = ids_by_content(run_raw(tmp_path / "more", tmp_path / "in"))
    assert more.items() > few.items()


def test_a_name_that_is_no_utf8_is_taken_and_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = os.fsencode(tmp_path / "in")
    different(tmp_path / "in" / "a.png", 1).rename(os.fsdecode(folder + b"/caf\xe9.png"))
    (tmp_path / "in" / "classes.txt").write_text("Cat")
    for name in (b"/caf\xe9.txt", b"/th\xe9.txt"):
        Path(os.fsdecode(folder + name)).write_text("0 0.5 0.5 1 1\n9 0.5 0.5 1 1\n")
    (row,) = run(tmp_path / "raw", tmp_path / "in", max_missing=0.5).values()
    assert row["boxes"] == [Box(0.0, 0.0, 1.0, 1.0, "Cat")]
    assert own_path(tmp_path / "raw")(row["path"]).endswith("caf\\xe9.png")
    assert "caf\\xe9.txt: there is no class 9" in caplog.text and "th\\xe9.txt" in caplog.text


def test_copies_of_one_name_and_content_are_taken_once_and_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        different(tmp_path / name / "a.png", 1)
    rows = run(tmp_path / "raw", tmp_path / "one", tmp_path / "two")
    assert set(rows) == {"a"}
    assert [folder["pictures_taken_once_of_several_copies"] for folder in report(tmp_path / "raw")["folders"]] == [0, 1]


def test_a_picture_that_cannot_be_copied_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        different(tmp_path / "in" / f"{number}.png", number)

    def refuse(path: Path) -> str:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied", str(path))
        return sha256_file(path)

    monkeypatch.setattr(directory, "sha256_file", refuse)
    assert set(run(tmp_path / "raw", tmp_path / "in", max_missing=0.5)) == {"0", "2"}
    (missing,) = report(tmp_path / "raw")["missing"]
    assert missing["picture"].endswith("1.png") and "Permission denied" in missing["reason"]
    with pytest.raises(DatasetError, match=r"1\.png for one .*Permission denied"):
        run(tmp_path / "raw", tmp_path / "in", max_missing=0.1)


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = picture(tmp_path / "in" / "closed" / "1.png")
    really = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DatasetError, match=r"closed/1\.png cannot be read \(Permission denied\); make it readable"):
        run(tmp_path / "raw", tmp_path / "in")


def test_links_that_lead_in_a_circle_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to(tmp_path / "out")
    (tmp_path / "out").symlink_to(tmp_path / "in")
    with pytest.raises(DatasetError, match="does not exist"):
        run(tmp_path / "raw", tmp_path / "in")


def test_the_same_picture_is_taken_once(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "sub" / "a.png")
    assert set(run(tmp_path / "raw", tmp_path / "in", tmp_path / "in" / "sub")) == {"sub__a"}


def test_relative_folders_start_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "pictures" / "a.png")
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    Directory(["../pictures"], "auto").download(tmp_path / "raw", 0, 0.0)
    (copy,) = (tmp_path / "raw" / "images").iterdir()
    assert copy.name.startswith("a-")


def test_the_target_folder_is_no_source_of_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for _ in range(2):
        assert set(run(tmp_path / "data" / "01_raw", tmp_path)) == {"a"}


def test_copies_are_no_links_and_are_not_made_twice(tmp_path: Path) -> None:
    source = picture(tmp_path / "in" / "a.png")
    run(tmp_path / "raw", tmp_path / "in")
    (copy,) = (tmp_path / "raw" / "images").iterdir()
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


def test_the_shared_photographs(tmp_path: Path, shared: Path) -> None:
    whole = run(tmp_path / "whole", shared / "labelled-photos")
    assert (len(whole), sum(len(row["boxes"]) for row in whole.values())) == (192, 1369)
    assert Counter(row["source_split"] for row in whole.values()) == {"train": 152, "validation": 20, "test": 20}
    train = run(tmp_path / "train", shared / "labelled-photos" / "images" / "train")
    assert (len(train), sum(len(row["boxes"]) for row in train.values())) == (152, 1087)
    assert all(row["boxes"] == whole[f"images__train__{image_id}"]["boxes"] for image_id, row in train.items())


def test_broken_shared_photographs_are_left_to_curate(tmp_path: Path, shared: Path) -> None:
    source = shared / "labelled-photos"
    (tmp_path / "in" / "images").mkdir(parents=True)
    os.symlink(source / "metadata", tmp_path / "in" / "metadata")
    names = sorted(os.listdir(source / "images" / "test"))[:3]
    truncated, replaced, whole = (tmp_path / "in" / "images" / name for name in names)
    truncated.write_bytes((source / "images" / "test" / names[0]).read_bytes()[:3000])
    replaced.write_text("<html>404</html>", encoding="utf-8")
    whole.write_bytes((source / "images" / "test" / names[2]).read_bytes())
    rows = run(tmp_path / "raw", tmp_path / "in")
    assert set(rows) == {f"images__{Path(name).stem}" for name in names}
    assert all(row["boxes"] for row in rows.values())
