"""Curation on a small raw folder with one picture for every reason of dropping."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from balle_li.boxes import Box
from balle_li.config import CurationConfig, read
from balle_li.data.curation import curate
from balle_li.data.manifest import read_dropped, read_index, read_manifest, write_index, write_origins
from balle_li.errors import DatasetError, StageError

DOG, PERSON = Box(0.1, 0.2, 0.5, 0.9, "Dog"), Box(0.0, 0.0, 0.3, 1.0, "Person")
TINY = Box(0.5, 0.5, 0.51, 0.51, "Dog")
DRAWN = Box(0.2, 0.2, 0.8, 0.8, "Cat", is_depiction=True)
CROWD = Box(0.2, 0.2, 0.8, 0.8, "Person", is_group_of=True)


def scene(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


class Raw:
    """A raw folder in the making."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        (folder / "images").mkdir(parents=True)

    def add(
        self, name: str, picture: Image.Image | bytes, *boxes: Box, rotation: float = 0.0, quality: int = 90
    ) -> None:
        path = self.folder / "images" / f"{name}.jpg"
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.save(path, quality=quality)
        row = {"image_id": name, "path": f"images/{name}.jpg", "rotation": rotation, "boxes": list(boxes)}
        self.rows.append({**row, "licence": "https://creativecommons.org/licenses/by/2.0/", "author": f"{name}'s"})
        write_index(self.folder / "index.parquet", self.rows)


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    raw = Raw(tmp_path / "01_raw")
    for number in range(8):
        raw.add(f"good-{number}", scene(number), DOG, PERSON, TINY)
    raw.add("depicted", scene(20), DRAWN)
    raw.add("crowded", scene(21), CROWD)
    raw.add("coarse", scene(22), DOG, quality=10)
    raw.add("narrow", scene(23, (96, 20)), DOG)
    raw.add("text", b"not a picture")
    whole = (raw.folder / "images/good-0.jpg").read_bytes()
    raw.add("truncated", whole[: len(whole) // 2])
    raw.add("twin", scene(1, (48, 32)), DOG)
    shutil.copyfile(raw.folder / "images/good-2.jpg", raw.folder / "images/same.jpg")
    raw.rows.append({**raw.rows[2], "image_id": "same", "path": "images/same.jpg"})
    raw.add("turned", scene(24).transpose(Image.Transpose.ROTATE_270), DOG.rotated(3), rotation=90.0)
    return raw


@pytest.fixture
def config(root: Path) -> CurationConfig:
    values = yaml.safe_load((root / "params.yaml").read_text())["curate"]
    return dataclasses.replace(read(CurationConfig, values, "curate"), min_side=32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    yield


def reasons(folder: Path) -> dict[str, str]:
    return {row["image_id"]: row["reason"] for row in read_dropped(folder / "dropped.parquet")}


def test_every_picture_is_kept_or_dropped_for_its_reason(
    mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "02_curated"
    write_origins(raw.folder, {"images/truncated.jpg": "/home/me/holiday/cut off.jpg"})
    with caplog.at_level(logging.WARNING):
        curate(raw.folder, dataclasses.replace(config, min_jpeg_quality=30), 0, folder)

    assert reasons(folder) == {
        "coarse": "low_jpeg_quality",
        "narrow": "too_small",
        "same": "exact_duplicate",
        "text": "undecodable",
        "truncated": "undecodable",
        "twin": "near_duplicate",
    }
    manifest = {row["image_id"]: row for row in read_manifest(folder / "manifest.parquet")}
    assert set(manifest) == {row["image_id"] for row in raw.rows} - set(reasons(folder))
    assert {row["split"] for row in manifest.values()} == {"train", "validation", "test"}
    assert manifest["good-0"]["boxes"] == [DOG, PERSON]  # and not the tiny one
    assert manifest["good-0"]["author"] == "good-0's"
    details = {row["image_id"]: row["detail"] for row in read_dropped(folder / "dropped.parquet")}
    assert details["twin"] == "looks like good-1" and str(tmp_path) not in (details["text"] or "")
    assert "images/text.jpg is dropped" in caplog.text and "/home/me/holiday/cut off.jpg is dropped" in caplog.text

    report = json.loads((folder / "report.json").read_text())
    assert report["pictures"] == {"found": 17, "kept": 11}
    assert report["dropped"]["undecodable"] == 2 and set(report["undecodable"]) == {
        "images/text.jpg",
        "/home/me/holiday/cut off.jpg",
    }
    found, kept = report["boxes"]["found"], report["boxes"]["kept"]
    assert sum(report["boxes_dropped"].values()) == found - kept
    assert report["boxes_dropped"] == {
        "picture_dropped": 6, "too_small": 8, "other_class": 0, "group_of": 0, "depiction": 0,
    }  # fmt: skip
    assert report["classes"]["Dog"] == {"pictures": 9, "boxes": 9}
    assert sum(split["pictures"] for split in report["splits"].values()) == 11
    with Image.open(folder / "report.png") as page:
        page.load()


def test_a_turned_picture_is_upright_with_its_boxes(
    mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path
) -> None:
    curate(raw.folder, config, 0, tmp_path / "02_curated")
    (row,) = [row for row in read_manifest(tmp_path / "02_curated/manifest.parquet") if row["image_id"] == "turned"]
    assert (row["width"], row["height"], row["rotation"]) == (96, 64, 90.0)
    (box,) = row["boxes"]
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == pytest.approx((DOG.xmin, DOG.ymin, DOG.xmax, DOG.ymax))


def test_boxes_are_filtered_by_class_and_flags(mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path) -> None:
    narrower = dataclasses.replace(config, classes=["Dog", "Cat"], keep_group_of=False, keep_depictions=False)
    curate(raw.folder, narrower, 0, tmp_path / "02_curated")
    labels = {box.label for row in read_manifest(tmp_path / "02_curated/manifest.parquet") for box in row["boxes"]}
    assert labels == {"Dog"}
    found = reasons(tmp_path / "02_curated")
    assert found["crowded"] == found["depicted"] == "no_boxes_of_class"

    lost = json.loads((tmp_path / "02_curated/report.json").read_text())["boxes_dropped"]
    assert lost["other_class"] == 8 and lost["too_small"] == 8

    without_flags = dataclasses.replace(config, keep_group_of=False, keep_depictions=False)
    curate(raw.folder, without_flags, 0, tmp_path / "02_curated")
    boxes = {row["image_id"]: row["boxes"] for row in read_manifest(tmp_path / "02_curated/manifest.parquet")}
    lost = json.loads((tmp_path / "02_curated/report.json").read_text())["boxes_dropped"]
    assert (lost["group_of"], lost["depiction"]) == (1, 1)
    assert boxes["crowded"] == boxes["depicted"] == []  # a picture may be without boxes when no class is asked for


def test_no_class_is_on_more_pictures_than_its_cap(
    mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path
) -> None:
    curate(raw.folder, dataclasses.replace(config, max_per_class=4), 0, tmp_path / "02_curated")
    classes = json.loads((tmp_path / "02_curated/report.json").read_text())["classes"]
    assert {label: counts["pictures"] for label, counts in classes.items()} == {"Cat": 1, "Dog": 4, "Person": 4}
    assert "over_class_cap" in reasons(tmp_path / "02_curated").values()


def test_equal_seeds_give_equal_bytes(mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path) -> None:
    for name in ("one", "two"):
        curate(raw.folder, config, 7, tmp_path / name)
    for name in ("manifest.parquet", "dropped.parquet", "report.json", "report.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    curate(raw.folder, config, 8, tmp_path / "three")
    assert (tmp_path / "three/manifest.parquet").read_bytes() != (tmp_path / "one/manifest.parquet").read_bytes()


def test_the_dataset_shows_what_was_dropped_and_can_be_made_again(
    mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "02_curated"
    curate(raw.folder, config, 0, folder)
    from balle_li.data.fiftyone_view import open_curated

    first = _facts(open_curated(raw.folder, folder))
    assert first["views"]["dropped: near_duplicate"] == ["twin"]
    assert first["views"]["dropped: undecodable"] == ["text", "truncated"]
    assert len(first["views"]["kept"]) == len(first["boxes"])
    # The App shows the file as it is stored, so its box is drawn there too.
    assert first["boxes"]["turned"] == [pytest.approx(DOG.rotated(3).to_fiftyone())]

    from balle_li.data.fiftyone_database import connect
    from balle_li.data.fiftyone_view import NAME

    dropped = open_curated(raw.folder, folder).match({"image_id": "twin"}).first()
    assert (dropped.detail, [box.label for box in dropped.boxes.detections]) == ("looks like good-1", ["Dog"])
    connect().delete_dataset(NAME)
    again = open_curated(raw.folder, folder)
    assert again.persistent and connect().list_datasets() == [NAME]
    second = _facts(again)
    assert second["views"] == first["views"] and set(second["boxes"]) == set(first["boxes"])
    for image_id, boxes in first["boxes"].items():
        assert second["boxes"][image_id] == [pytest.approx(box) for box in boxes]


def _facts(dataset: Any) -> dict[str, Any]:
    views = {name: sorted(dataset.load_saved_view(name).values("image_id")) for name in dataset.list_saved_views()}
    kept = dataset.load_saved_view("kept")
    boxes = dict(zip(*kept.values(["image_id", "boxes.detections.bounding_box"]), strict=True))
    return {"views": views, "boxes": boxes}


def test_a_temporary_workspace_leaves_the_dataset_alone(
    mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from balle_li.data.fiftyone_database import connect
    from balle_li.data.fiftyone_view import NAME

    curate(raw.folder, config, 0, tmp_path / "02_curated")
    before = connect().load_dataset(NAME).created_at
    monkeypatch.setenv("DVC_ROOT", str(tmp_path.parent))
    curate(raw.folder, dataclasses.replace(config, min_side=60), 0, tmp_path / "temporary")
    assert (tmp_path / "temporary/manifest.parquet").is_file()
    assert connect().list_datasets() == [NAME] and connect().load_dataset(NAME).created_at == before


def test_an_unknown_class_is_named_with_its_neighbours(raw: Raw, config: CurationConfig, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no box is labelled 'Dogs': did you mean 'Dog'\? there are Cat, Dog"):
        curate(raw.folder, dataclasses.replace(config, classes=["Dogs"]), 0, tmp_path / "02_curated")


def test_too_few_pictures_are_counted_by_reason(mongo: str, raw: Raw, config: CurationConfig, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"0 of 17 pictures remain \(2 undecodable, 15 too_small\)"):
        curate(raw.folder, dataclasses.replace(config, min_side=500), 0, tmp_path / "02_curated")
    from balle_li.data.fiftyone_database import connect

    assert not [name for name in connect().list_datasets() if name != "balle-li"]


def test_without_an_index_the_command_to_run_is_named(config: CurationConfig, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="kedro run --pipeline download"):
        curate(tmp_path, config, 0, tmp_path / "02_curated")


def test_broken_and_odd_files_do_not_stop_curation(
    mongo: str, shared: Path, config: CurationConfig, tmp_path: Path
) -> None:
    raw = Raw(tmp_path / "odd")
    files = sorted(path for path in (shared / "edge-cases").rglob("*") if path.is_file())
    for number, path in enumerate(files):
        raw.rows.append({"image_id": f"{number:04}", "path": f"images/{number:04}", "rotation": 0.0, "boxes": []})
        shutil.copyfile(path, raw.folder / "images" / f"{number:04}")
    write_index(raw.folder / "index.parquet", raw.rows)
    curate(raw.folder, dataclasses.replace(config, min_side=1), 0, tmp_path / "02_curated")
    kept = read_manifest(tmp_path / "02_curated/manifest.parquet")
    assert len(kept) > 20 and len(kept) + len(reasons(tmp_path / "02_curated")) == len(
        read_index(raw.folder / "index.parquet")
    )


def test_the_reports_axes_count_whole_pictures_and_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from balle_li.data import curation_report

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, part, **_: (drawn.append(self), part.write_bytes(b"")))
    lost = {"picture_dropped": 0, "too_small": 1, "other_class": 0, "group_of": 1, "depiction": 0}
    row = {
        "image_id": "a",
        "path": "images/a.jpg",
        "boxes": [DOG, DOG, DOG],
        "split": "train",
        "width": 300,
        "height": 300,
    }
    curation_report.write(tmp_path, [row], [row | {"boxes": [DOG]}], [], lost, str)  # type: ignore[list-item]
    (figure,) = drawn
    figure.canvas.draw()
    panels = {axes.get_title().split()[0] + axes.get_title().split()[1]: axes for axes in figure.axes}
    assert len(panels) == 5 and "Boxeskept" in panels
    for name, axes in panels.items():
        horizontal = name in ("Keptby", "Boxeskept", "Boxesby")
        ticks = (axes.xaxis if horizontal else axes.yaxis).get_majorticklocs()
        assert all(float(tick).is_integer() for tick in ticks), name
