"""One training, in one MLflow run, that goes on where it was interrupted."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.folder import Fill

if TYPE_CHECKING:
    from balle_li.training.task import Task


def open_run(
    patch_store: Path,
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
    parameters: dict[str, Any],
) -> dict[str, str | None]:
    """Start the experiment's MLflow run, or find the run of an unfinished training of the same parameters and data.

    `work` names the folder that an interrupted training goes on from. Of several processes under torchrun the first one
    has the run; to the others `run_id` is None.
    """
    from balle_li.distributed import rank
    from balle_li.files import read_json, write_json
    from balle_li.tracking import provenance, run

    task = _task(patch_store, model, train, lmbda, class_weights, seed)
    task.new_model()  # what cannot be built, or started from these weights, makes no run
    work = task.fingerprint()[:16]
    if rank() != 0:
        return {"run_id": None, "work": work}
    unfinished = _work_folder(work) / "mlflow_run.json"
    known = read_json(unfinished)["run_id"] if unfinished.exists() else None
    record: dict[str, str | None] = {
        "run_id": run.open_run(parameters, provenance.tags(Path.cwd()), known),
        "work": work,
    }
    write_json(unfinished, record)
    return record


def train(
    patch_store: Path,
    mlflow_run: dict[str, str | None],
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
    parameters: dict[str, Any],
) -> Fill:
    task = _task(patch_store, model, train, lmbda, class_weights, seed)

    def fill(folder: Path) -> None:
        from contextlib import nullcontext

        from balle_li.run_log import NoLog
        from balle_li.tracking import provenance, run
        from balle_li.training.train import train as run_training

        run_id, work = mlflow_run["run_id"], mlflow_run["work"]
        assert work is not None
        own_run = (
            nullcontext(NoLog()) if run_id is None else run.attached(run_id, parameters, provenance.tags(Path.cwd()))
        )
        with own_run as log:
            run_training(
                patch_store, task.model, task.config, lmbda, class_weights, seed, folder, _work_folder(work), log
            )
            if run_id is not None:
                log.artifact(folder / "training.json")

    return fill


def forget_unfinished(model: Path, mlflow_run: dict[str, str | None]) -> None:
    """Delete what an interrupted training would have gone on from, now that the model is in its place."""
    if mlflow_run["run_id"] is not None and mlflow_run["work"] is not None:
        shutil.rmtree(_work_folder(mlflow_run["work"]), ignore_errors=True)


def _task(
    patch_store: Path,
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
) -> "Task":
    from balle_li.configuration import from_mapping
    from balle_li.models.config import ModelConfig
    from balle_li.training.config import TrainConfig
    from balle_li.training.task import Task
    from pipelines.train import initial_weights

    model_config = from_mapping(ModelConfig, model, "model")
    start = train.get("init_from")
    located = {**train, "init_from": initial_weights.locate(start, model_config.name, model_config.N)}
    train_config = from_mapping(TrainConfig, located, "train")
    return Task(patch_store, model_config, train_config, lmbda, class_weights, seed)


def _work_folder(work: str) -> Path:
    """Where an unfinished training lies: in the checkout, since DVC empties a stage's outputs before it runs."""
    from balle_li.files import project_home

    return project_home() / ".train" / work
