"""One training, in one MLflow run, that goes on where it was interrupted."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def open_run(
    patch_store: Path,
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
    parameters: dict[str, Any],
) -> dict[str, str]:
    """Start the experiment's MLflow run, or find the run of an unfinished training of the same parameters and data."""
    from balle_li.files import read_json, sha256_file, write_json
    from balle_li.tracking import provenance, run

    identity = [model, train, lmbda, class_weights, seed, sha256_file(patch_store / "patches.json")]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    unfinished = _work_folder({"work": key}) / "mlflow_run.json"
    known = read_json(unfinished)["run_id"] if unfinished.exists() else None
    record = {"run_id": run.open_run(parameters, provenance.tags(Path.cwd()), known), "work": key}
    write_json(unfinished, record)
    return record


def train(
    patch_store: Path,
    mlflow_run: dict[str, str],
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
    parameters: dict[str, Any],
) -> Fill:
    from balle_li.configuration import from_mapping
    from balle_li.models.config import ModelConfig
    from balle_li.training.config import TrainConfig

    model_config = from_mapping(ModelConfig, model, "model")
    train_config = from_mapping(TrainConfig, _resolved(train), "train")

    def fill(folder: Path) -> None:
        from balle_li.tracking import provenance, run
        from balle_li.training.train import train as run_training

        work = _work_folder(mlflow_run)
        with run.attached(mlflow_run["run_id"], parameters, provenance.tags(Path.cwd())) as log:
            run_training(patch_store, model_config, train_config, lmbda, class_weights, seed, folder, work, log)
            log.artifact(folder / "training.json")

    return fill


def forget_unfinished(model: Path, mlflow_run: dict[str, str]) -> None:
    """Delete what an interrupted training would have gone on from, now that the model is in its place."""
    shutil.rmtree(_work_folder(mlflow_run), ignore_errors=True)


def _work_folder(mlflow_run: dict[str, str]) -> Path:
    """Where an unfinished training lies: in the checkout, since DVC empties a stage's outputs before it runs."""
    from balle_li.files import project_home

    return project_home() / ".train" / mlflow_run["work"]


def _resolved(train: dict[str, Any]) -> dict[str, Any]:
    """`train` with a registry's address in `init_from` replaced by the model folder behind it."""
    if not str(train.get("init_from") or "").startswith("models:/"):
        return train
    from balle_li.tracking.registry import model_path

    return {**train, "init_from": str(model_path(train["init_from"]))}
