"""A patch store of a few smooth random patches, and a training so small that it takes a second."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from balle_li.boxes import Box, to_records
from balle_li.config import TrainConfig
from balle_li.data.patch_store import INDEX_SCHEMA, shard_name

SIZE = 48
CONFIG = TrainConfig(
    steps=12,
    batch_size=4,
    crop=32,
    smooth_fraction=0.0,
    optimizer="adam",
    lr=2e-3,
    lr_from_weights=5e-4,
    schedule="one-cycle",
    warmup=0.1,
    clip=1.0,
    lmbda_box=0.02,
    tune="ms-ssim",
    ms_ssim_weight=400.0,
    device="cpu",
    precision="fp32",
    compile=False,
    checkpoint_minutes=60,
    validate_every=5,
    patience=0,
    noise_fraction=0.5,
    init_from=None,
)


def write_store(folder: Path, train: int = 7, validation: int = 3, size: int = SIZE) -> Path:
    """A store with `train` and `validation` patches of `size`; every other patch has two boxes with fractional corners."""
    random = np.random.default_rng(0)
    boxes = to_records([Box(0.103, 0.2, 0.62, 0.71, "Cat"), Box(0.5, 0.41, 1.0, 0.93, "Dog")])
    for split, count in (("train", train), ("validation", validation)):
        (folder / split).mkdir(parents=True)
        coarse = random.integers(0, 256, (count, size // 8, size // 8, 3), dtype=np.uint8)
        np.save(folder / split / shard_name(0), coarse.repeat(8, axis=1).repeat(8, axis=2))
        rows = [
            {
                "patch": number,
                "shard": 0,
                "row": number,
                "image_id": f"{split}-{number}",
                "x": 0,
                "y": 0,
                "scale": 1.0,
                "boxes": boxes if number % 2 else [],
            }
            for number in range(count)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / split / "index.parquet")
    splits = {"train": {"shards": [train]}, "validation": {"shards": [validation]}}
    (folder / "patches.json").write_text(json.dumps({"format": 1, "size": size, "splits": splits}))
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "patches")


@pytest.fixture(scope="session")
def new_store() -> Callable[..., Path]:
    return write_store


@pytest.fixture(scope="session")
def config() -> Callable[..., TrainConfig]:
    """The tiny training's settings, with changes."""
    return lambda **changes: replace(CONFIG, **changes)


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Sums of floats depend on how many threads share them; these tests compare weights bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
