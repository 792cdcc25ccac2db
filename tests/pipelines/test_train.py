"""A training and its MLflow run change together."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from kedro.io import DataCatalog, DatasetError
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset

from balle_li.data.patch_store import INDEX_SCHEMA, shard_name
from pipelines.folder import Folder
from pipelines.train.pipeline import create_pipeline

PARAMETERS = {
    "model": {"name": "balle", "N": 4},
    "train": {
        "steps": 2, "batch_size": 2, "crop": 16, "smooth_fraction": 0.0, "optimizer": "adam", "lr": 1e-3,
        "lr_from_weights": 1e-3, "schedule": "constant", "warmup": 0.0, "clip": 1.0, "lmbda_box": 0.0, "tune": "psnr",
        "ms_ssim_weight": 400.0,
        "device": "cpu", "precision": "fp32", "compile": False, "checkpoint_minutes": 60, "validate_every": 2, "patience": 0,
        "noise_fraction": 0.0, "init_from": None,
    },
    "lmbda": 0.01, "class_weights": {}, "seed": 0,
}  # fmt: skip


@pytest.fixture
def home(home: Path) -> Path:
    store = home / "patches"
    for split in ("train", "validation"):
        (store / split).mkdir(parents=True)
        np.save(store / split / shard_name(0), np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8))
        rows = [
            {"patch": i, "shard": 0, "row": i, "image_id": f"{i}", "x": 0, "y": 0, "scale": 1.0, "boxes": []}
            for i in range(2)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), store / split / "index.parquet")
    splits = {"train": {"shards": [2]}, "validation": {"shards": [2]}}
    (store / "patches.json").write_text(json.dumps({"format": 1, "size": 16, "splits": splits}))
    return home


def train(home: Path, **changes: object) -> None:
    """What `kedro run --pipeline train` does, with some of the parameters changed."""
    parameters = {**PARAMETERS, **changes}
    catalog = DataCatalog(
        {
            "patch_store": Folder(str(home / "patches")),
            "model": Folder(str(home / "models" / "model")),
            "mlflow_run": JSONDataset(filepath=str(home / "models" / "mlflow_run.json")),
        }
    )
    catalog["parameters"] = parameters
    for name, value in parameters.items():
        catalog[f"params:{name}"] = value
    SequentialRunner().run(create_pipeline(), catalog)


def runs() -> dict[str, str]:
    from balle_li.tracking.connection import connect

    found = connect().search_runs(experiment_names=["balle-li"], output_format="list")
    return {run.info.run_id: run.info.status for run in found}


def test_a_refused_training_leaves_model_and_run_as_they_were(home):
    train(home)
    record = (home / "models/mlflow_run.json").read_text()
    model = (home / "models/model/training.json").read_bytes()
    assert runs() == {json.loads(record)["run_id"]: "FINISHED"}
    assert not list((home / ".train").iterdir()), "what it would have gone on from is still there"

    # The folder of the same training, as another process would hold it.
    work = home / ".train" / json.loads(record)["work"]
    work.mkdir()
    with FileLock(work / "lock"), pytest.raises(DatasetError, match="another process trains the same model"):
        train(home)
    assert (home / "models/mlflow_run.json").read_text() == record
    assert (home / "models/model/training.json").read_bytes() == model
    assert len(runs()) == 1, "it was refused, but has a run"


def test_a_training_that_fails_leaves_the_old_model_with_the_old_run(home):
    train(home)
    record = (home / "models/mlflow_run.json").read_text()
    with pytest.raises(DatasetError):
        train(home, train={**PARAMETERS["train"], "crop": 32})
    assert (home / "models/mlflow_run.json").read_text() == record
    assert sorted(runs().values()) == ["FAILED", "FINISHED"]
