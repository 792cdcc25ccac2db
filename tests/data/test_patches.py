"""Cutting patches: the right pixels with the right boxes, the same bytes whoever cuts, and going on after a failure."""

import hashlib
import json
import socket
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from balle_li.boxes import Box, box_weight_map
from balle_li.config import ComputeConfig, PatchConfig, read
from balle_li.data import patch_cutting, patches
from balle_li.data.manifest import write_manifest
from balle_li.data.patch_cutting import patch_corners, picture_generator
from balle_li.data.patch_store import PatchStore
from balle_li.data.patches import cut_patches
from balle_li.errors import ConfigError, DatasetError, StageError
from balle_li.files import sha256_file
from balle_li.image_io import read_picture

CONFIG = PatchConfig(size=32, per_megapixel=1000, object_fraction=0.5, max_megapixels=0.02, shard_mib=1)
ONE_PROCESS = ComputeConfig(scheduler=None, workers=1)
RED = Box(0.25, 0.25, 0.5, 0.75, "Red")


def picture(width: int, height: int, number: int) -> Image.Image:
    """Noise without red or blue, and a rectangle of pure red where RED is."""
    pixels = np.random.default_rng(number).integers(0, 200, (height, width, 3), dtype=np.uint8)
    pixels[..., [0, 2]] = 0
    pixels[height // 4 : 3 * height // 4, width // 4 : width // 2] = 255, 0, 0
    return Image.fromarray(pixels)


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """(raw, curated): 24 train and 4 validation pictures that are cut as they are; the work folder is tmp_path's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return make_dataset(tmp_path, [(160, 120) if number % 2 else (100, 180) for number in range(28)])


def make_dataset(folder: Path, sizes: list[tuple[int, int]]) -> tuple[Path, Path]:
    raw, curated, rows = folder / "raw", folder / "curated", []
    (raw / "images").mkdir(parents=True)
    curated.mkdir()
    for number, (width, height) in enumerate(sizes):
        path = f"images/picture-{number:02d}.png"
        picture(width, height, number).save(raw / path)
        row = {"image_id": f"picture-{number:02d}", "path": path, "width": width, "height": height, "rotation": 0.0}
        split = "validation" if number % 7 == 6 else "train"
        rows.append({**row, "split": split, "sha256": sha256_file(raw / path), "boxes": [RED]})
    write_manifest(curated / "manifest.parquet", rows)
    return raw, curated


def cut(dataset, folder, config=CONFIG, compute=ONE_PROCESS, weights=None, seed=0):
    cut_patches(*dataset, config, compute, weights or {}, seed, folder)
    return PatchStore(folder, "train"), PatchStore(folder, "validation")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def index(folder: Path, split: str = "train") -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(folder / split / "index.parquet").to_pylist()


def test_patches_are_the_pixels_the_index_names(dataset, tmp_path):
    train, validation = cut(dataset, tmp_path / "out")
    rows = index(tmp_path / "out")
    assert Counter(row["image_id"] for row in rows).keys() == {f"picture-{n:02d}" for n in range(28) if n % 7 != 6}
    assert len(validation) > 0 and {int(name[-2:]) % 7 for name in validation.image_ids()} == {6}
    assert [row["patch"] for row in rows] == list(range(len(train)))
    for row in rows:
        whole = np.asarray(read_picture(dataset[0] / "images" / f"{row['image_id']}.png"))
        expected = whole[row["y"] : row["y"] + 32, row["x"] : row["x"] + 32]
        np.testing.assert_array_equal(train[row["patch"]], expected)
        assert row["scale"] == 1.0
        shard = np.load(tmp_path / "out" / "train" / f"shard-{row['shard']:05d}.npy", mmap_mode="r")
        np.testing.assert_array_equal(shard[row["row"]], expected)


def test_boxes_lie_on_their_objects(dataset, tmp_path):
    train, _ = cut(dataset, tmp_path / "out")
    with_box = 0
    for patch in range(len(train)):
        red = train[patch][..., 0] == 255
        boxes = train.boxes(patch)
        with_box += len(boxes)
        assert len(boxes) == 1 or red.mean() < 0.1 * min(1.0, RED.area * 160 * 120 / 32**2)
        if boxes:
            assert np.abs(box_weight_map(boxes, 32, 32) - red).max() < 1e-6
    assert with_box >= len(train) / 2


def test_shards_are_bounded_and_described(dataset, tmp_path):
    train, _ = cut(dataset, tmp_path / "out")
    sizes = [path.stat().st_size for path in (tmp_path / "out" / "train").glob("*.npy")]
    assert len(sizes) >= 1 and max(sizes) <= 2**20 + 128
    description = json.loads((tmp_path / "out" / "patches.json").read_text())
    assert description["splits"]["train"]["patches"] == len(train) == sum(description["splits"]["train"]["shards"])
    assert description["splits"]["train"]["pictures"] == 24
    assert description["config"]["size"] == 32 and len(description["manifest_sha256"]) == 64


def test_large_pictures_are_scaled_down_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = make_dataset(tmp_path, [(400, 200)] * 7)
    train, _ = cut(dataset, tmp_path / "out")
    assert {row["scale"] for row in index(tmp_path / "out")} == {0.5}
    assert len(train) == 6 * 20
    whole = picture(400, 200, 0).resize((200, 100), Image.Resampling.LANCZOS)
    row = next(row for row in index(tmp_path / "out") if row["image_id"] == "picture-00")
    window = row["x"], row["y"], row["x"] + 32, row["y"] + 32
    np.testing.assert_array_equal(train[row["patch"]], np.asarray(whole.crop(window)))


def test_a_picture_smaller_than_a_patch_is_mirrored_at_its_edges(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, _ = cut(make_dataset(tmp_path, [(20, 40)] * 7), tmp_path / "out")
    for row in index(tmp_path / "out"):
        patch = train[row["patch"]]
        np.testing.assert_array_equal(patch[:, 20:31], patch[:, 8:19][:, ::-1])
        for box in train.boxes(row["patch"]):
            assert box.xmax == pytest.approx(10 / 32)


def test_the_seed_chooses_the_patches(dataset, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        cut(dataset, tmp_path / name, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a")["train/shard-00000.npy"] != digests(tmp_path / "c")["train/shard-00000.npy"]


def test_other_pictures_do_not_change_a_pictures_patches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corners = []
    for name, number in (("few", 7), ("many", 21)):
        (tmp_path / name).mkdir()
        cut(make_dataset(tmp_path / name, [(100, 100)] * number), tmp_path / name / "out")
        rows = index(tmp_path / name / "out")
        corners.append([(row["x"], row["y"]) for row in rows if row["image_id"] == "picture-03"])
    assert corners[0] == corners[1]


@contextmanager
def dask_cluster(folder: Path):
    """`dask scheduler` with two `dask worker` processes; yields the scheduler's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    port = address.rpartition(":")[2]
    commands = [[*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    commands += 2 * [[*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]]
    processes = [
        subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for command in commands
    ]
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def test_whoever_cuts_makes_the_same_bytes(dataset, tmp_path, monkeypatch):
    config = PatchConfig(size=32, per_megapixel=4000, object_fraction=0.5, max_megapixels=0.02, shard_mib=1)
    cut(dataset, tmp_path / "one", config)
    assert len(list((tmp_path / "one" / "train").glob("*.npy"))) >= 4
    monkeypatch.setattr(patches, "SMALL_MEGAPIXELS", 0)
    cut(dataset, tmp_path / "four", config, ComputeConfig(scheduler=None, workers=4))
    assert digests(tmp_path / "four") == digests(tmp_path / "one")
    with dask_cluster(tmp_path / "dask") as address:
        cut(dataset, tmp_path / "cluster", config, ComputeConfig(scheduler=address, workers=1))
    assert digests(tmp_path / "cluster") == digests(tmp_path / "one")


def test_an_unreadable_picture_is_named_and_the_next_run_goes_on(dataset, tmp_path, monkeypatch):
    config = PatchConfig(size=32, per_megapixel=4000, object_fraction=0.5, max_megapixels=0.02, shard_mib=1)
    cut(dataset, tmp_path / "expected", config)
    rows = index(tmp_path / "expected")
    last = dataset[0] / "images" / f"{rows[-1]['image_id']}.png"
    whole = last.read_bytes()
    last.write_bytes(whole[:-100])
    with pytest.raises(DatasetError, match=last.name) as failure:
        cut(dataset, tmp_path / "out", config)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "out" / "patches.json").exists()

    read = []
    original = patch_cutting.read_picture
    monkeypatch.setattr(patch_cutting, "read_picture", lambda path, *_, **__: read.append(path) or original(path))
    last.write_bytes(whole)
    cut(dataset, tmp_path / "out", config)
    assert digests(tmp_path / "out") == digests(tmp_path / "expected")
    finished = {row["image_id"] for row in rows if row["shard"] < rows[-1]["shard"]}
    assert finished and not finished & {path.stem for path in read}
    assert [path for path in (tmp_path / ".patches").iterdir() if path.is_dir()] == []


def test_the_work_is_kept_in_the_users_checkout_under_dvc(dataset, tmp_path, monkeypatch):
    (tmp_path / "checkout").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "checkout"))
    cut(dataset, tmp_path / "out")
    assert (tmp_path / "checkout" / ".patches").is_dir() and not (tmp_path / ".patches").exists()


def test_an_older_store_is_replaced_whole(dataset, tmp_path):
    cut(dataset, tmp_path / "out", PatchConfig(32, 4000, 0.5, 0.02, 1))
    cut(dataset, tmp_path / "out", CONFIG)
    cut(dataset, tmp_path / "fresh", CONFIG)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_a_picture_other_than_the_manifests_is_named(dataset, tmp_path):
    picture(50, 50, 0).save(dataset[0] / "images" / "picture-03.png")
    with pytest.raises(DatasetError, match=r"picture-03.png: is 50x50.*160x120.*--pipeline curate"):
        cut(dataset, tmp_path / "out")


def test_a_picture_that_changed_since_curate_is_named(dataset, tmp_path):
    picture(160, 120, 99).save(dataset[0] / "images" / "picture-03.png")
    with pytest.raises(DatasetError, match=r"picture-03.png: .*changed since curate.*--pipeline curate"):
        cut(dataset, tmp_path / "out")


def test_a_picture_that_kills_its_worker_is_named(dataset, tmp_path, monkeypatch):
    import dask

    preload = tmp_path / "preload.py"
    preload.write_text(
        "import os\nfrom balle_li.data import patch_cutting\npatch_cutting.read_picture = lambda *_, **__: os._exit(1)\n"
    )
    monkeypatch.setattr(patches, "SMALL_MEGAPIXELS", 0)
    fragile = {"distributed.worker.preload": [str(preload)], "distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(fragile),
        pytest.raises(DatasetError, match=r"died while reading .*picture-..\.png") as failure,
    ):
        cut(dataset, tmp_path / "out", compute=ComputeConfig(scheduler=None, workers=2))
    assert "\n" not in str(failure.value)


def test_without_a_manifest_the_command_to_run_first_is_named(tmp_path):
    with pytest.raises(StageError, match="run `kedro run --pipeline curate` first"):
        cut((tmp_path, tmp_path), tmp_path / "out")


def test_without_train_pictures_there_is_nothing_to_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_manifest(tmp_path / "manifest.parquet", [])
    with pytest.raises(DatasetError, match="no pictures in the split 'train'"):
        cut((tmp_path, tmp_path), tmp_path / "out")


def test_an_impossible_class_weight_is_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"class_weights\.Red"):
        cut(dataset, tmp_path / "out", weights={"Red": -1.0})


@pytest.mark.parametrize(
    "change", [{"size": 8}, {"per_megapixel": 0}, {"object_fraction": 1.5}, {"max_megapixels": 0}, {"shard_mib": 0}]
)
def test_impossible_settings_are_refused(change):
    values = {"size": 256, "per_megapixel": 24, "object_fraction": 0.5, "max_megapixels": 2.0, "shard_mib": 48}
    with pytest.raises(ConfigError, match=f"patches.*{next(iter(change))}"):
        read(PatchConfig, {**values, **change}, "patches")


def corners(boxes, weights, fraction=1.0, count=400):
    config = PatchConfig(size=32, per_megapixel=1, object_fraction=fraction, max_megapixels=1.0, shard_mib=1)
    return np.array(patch_corners(300, 200, boxes, count, config, weights, picture_generator(0, "a")))


def test_patches_around_a_small_box_hold_all_of_it():
    box = Box(0.5, 0.5, 0.55, 0.6, "Dog")  # 150..165 x 100..120
    found = corners([box], {})
    assert (found[:, 0].min(), found[:, 0].max()) == (133, 150)
    assert (found[:, 1].min(), found[:, 1].max()) == (88, 100)


def test_patches_around_a_large_box_lie_in_it():
    found = corners([Box(0.1, 0.1, 0.9, 0.9, "Dog")], {})
    assert found[:, 0].min() >= 30 and found[:, 0].max() + 32 <= 270
    assert found[:, 1].min() >= 20 and found[:, 1].max() + 32 <= 180
    assert np.ptp(found[:, 0]) > 150


def test_patches_stay_in_the_picture_at_its_edges():
    found = corners([Box(0.0, 0.0, 0.01, 0.01, "Dog"), Box(0.99, 0.99, 1.0, 1.0, "Dog")], {})
    assert {tuple(corner) for corner in found} == {(0, 0), (268, 168)}


def test_classes_are_chosen_by_their_weights():
    boxes = [Box(0.0, 0.0, 0.01, 0.01, "Cat"), Box(0.99, 0.99, 1.0, 1.0, "Dog"), Box(0.4, 0.4, 0.6, 0.6, "Sky")]
    found = corners(boxes, {"Dog": 3.0, "Sky": 0.0})
    dogs = (found[:, 0] == 268).mean()
    assert set(found[:, 0]) == {0, 268} and 0.68 < dogs < 0.82


def test_the_object_fraction_is_kept_on_average():
    box = Box(0.0, 0.0, 0.01, 0.01, "Dog")
    assert 98 <= (corners([box], {}, 0.25) == 0).all(axis=1).sum() <= 104
    config = PatchConfig(size=32, per_megapixel=1, object_fraction=0.3, max_megapixels=1.0, shard_mib=1)
    single = [
        patch_corners(300, 200, [box], 1, config, {}, picture_generator(0, str(number))) == [(0, 0)]
        for number in range(400)
    ]
    assert 0.22 < np.mean(single) < 0.38


def test_without_boxes_patches_fall_anywhere():
    found = corners([], {})
    assert found.min() >= 0 and found[:, 0].max() <= 268 and found[:, 1].max() <= 168
    assert found[:, 0].max() > 255 and found[:, 1].max() > 155 and found.min() < 10
