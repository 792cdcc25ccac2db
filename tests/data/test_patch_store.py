"""The patch store: what was written is read, and what is unusable says which command makes it again."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from balle_li.boxes import Box, to_records
from balle_li.data import patch_store
from balle_li.data.patch_store import INDEX_SCHEMA, PatchStore, shard_name, write_shard_header
from balle_li.errors import StageError

SIZE, SHARDS = 16, [3, 1, 2]
PIXELS = np.random.default_rng(0).integers(0, 256, (sum(SHARDS), SIZE, SIZE, 3), dtype=np.uint8)
BOX = Box(0.25, 0.0, 1.0, 0.5, "Dog", is_group_of=True)


@pytest.fixture
def folder(tmp_path):
    rows = []
    for split, shards in (("train", SHARDS), ("validation", [])):
        (tmp_path / split).mkdir()
        for number, patches in enumerate(shards):
            first = sum(shards[:number])
            with open(tmp_path / split / shard_name(number), "wb") as file:
                write_shard_header(file, patches, SIZE)
                file.write(PIXELS[first : first + patches].tobytes())
            for row in range(patches):
                patch = first + row
                boxes = to_records([BOX] * (patch % 2))
                values = patch, number, row, f"picture-{patch}", 0, 0, 1.0, boxes
                rows.append(dict(zip(INDEX_SCHEMA.names, values, strict=True)))
        table = pa.Table.from_pylist(rows if shards else [], schema=INDEX_SCHEMA)
        pq.write_table(table, tmp_path / split / "index.parquet")
    splits = {"train": {"shards": SHARDS}, "validation": {"shards": []}}
    (tmp_path / "patches.json").write_text(json.dumps({"format": 1, "size": SIZE, "splits": splits}))
    return tmp_path


def test_patches_are_read_by_number(folder):
    store = PatchStore(folder, "train")
    assert len(store) == 6 and store.nbytes == PIXELS.nbytes
    for patch in range(6):
        np.testing.assert_array_equal(store[patch], PIXELS[patch])
    np.testing.assert_array_equal(store.read([5, 0, 3, 0]), PIXELS[[5, 0, 3, 0]])
    np.testing.assert_array_equal(store.load(), PIXELS)
    for outside in (6, -1):
        with pytest.raises(IndexError):
            store[outside]


def test_shards_are_plain_npy_files(folder):
    np.testing.assert_array_equal(np.load(folder / "train" / shard_name(0)), PIXELS[:3])


def test_boxes_and_pictures_of_patches(folder):
    store = PatchStore(folder, "train")
    assert store.boxes(0) == [] and store.boxes(1) == [BOX]
    assert store.all_boxes() == [[], [BOX]] * 3
    assert store.image_ids()[4] == "picture-4"


def test_a_split_may_be_empty(folder):
    store = PatchStore(folder, "validation")
    assert len(store) == 0 and store.load().shape == (0, SIZE, SIZE, 3) and store.all_boxes() == []


def test_a_store_sent_to_another_process_does_not_take_its_patches_along(folder):
    store = PatchStore(folder, "train")
    store.load()
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[4], PIXELS[4])


def test_few_shards_are_open_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(patch_store, "_MAX_OPEN", 2)
    store = PatchStore(folder, "train")
    for _ in range(2):
        np.testing.assert_array_equal(store.load(), PIXELS)
        assert len(store._maps) == 2


def cut_short(folder):
    path = folder / "train" / shard_name(1)
    path.write_bytes(path.read_bytes()[:-1])


def overwrite_header(folder):
    path = folder / "train" / shard_name(1)
    path.write_bytes(b"\0" * path.stat().st_size)


def other_format(folder):
    path = folder / "patches.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))


def shorter_index(folder):
    path = folder / "train" / "index.parquet"
    pq.write_table(pq.read_table(path).slice(0, 2), path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "patches.json").unlink(),
        lambda folder: (folder / "patches.json").write_text("{"),
        lambda folder: (folder / "patches.json").write_text("[]"),
        lambda folder: (folder / "patches.json").write_text('{"format": 1, "size": 16, "splits": {}}'),
        lambda folder: (folder / "train" / shard_name(2)).unlink(),
        lambda folder: (folder / "train" / "index.parquet").unlink(),
        lambda folder: (folder / "train" / "index.parquet").write_bytes(b"PAR1"),
        cut_short,
        overwrite_header,
        other_format,
        shorter_index,
    ],
)
def test_an_unusable_store_names_the_command_that_makes_it(folder, damage):
    damage(folder)
    with pytest.raises(StageError, match="kedro run --pipeline patches") as failure:
        PatchStore(folder, "train").load()
    assert "\n" not in str(failure.value)


def test_a_folder_that_is_not_there_names_the_command_to_run_first(tmp_path):
    with pytest.raises(StageError, match="run `kedro run --pipeline patches` first"):
        PatchStore(tmp_path / "nowhere", "train")


def test_a_split_that_is_not_there_is_named(folder):
    with pytest.raises(StageError, match=r"'tset'.*train"):
        PatchStore(folder, "tset")
