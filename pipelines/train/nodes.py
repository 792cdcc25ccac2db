"""One training in one MLflow run, which resumes where it was interrupted."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.folder import Fill

if TYPE_CHECKING:
    from balle_li.training.task import Task


def train(
    patch_store: Path,
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
    parameters: dict[str, Any],
) -> tuple[Fill, dict[str, str | None]]:
    """The model, made while its folder is saved, and the record of its MLflow run, which is known from then on.

    The run is the experiment's new one, or that of an unfinished training of the same parameters and data. Only who holds
    the training's work folder opens it: a training that is refused leaves model and record as they were. Of several
    processes under torchrun the first one has the run; to the others `run_id` is None. `work` names the folder that an
    interrupted training resumes from.
    """
    task = _task(patch_store, model, train, lmbda, class_weights, seed)
    record: dict[str, str | None] = {}

    def fill(folder: Path) -> None:
        from contextlib import nullcontext

        from balle_li.files import sha256_file
        from balle_li.progress import NoLog
        from balle_li.tracking import run
        from balle_li.training.checkpoint import training_lock
        from balle_li.training.loop import train as run_training

        task.new_model()  # what cannot be built, or started from these weights, makes no run
        name = task.fingerprint()[:16]
        work, tags = _work_folder(name), run.origin_tags()
        with training_lock(work):
            run_id = _open_run(work, parameters, tags)
            record.update({"run_id": run_id, "work": name})
            with nullcontext() if run_id is None else run.attached(run_id, parameters, tags, "train") as own:
                log = own or NoLog()
                if own is not None:
                    own.dataset("patches", patch_store, sha256_file(patch_store / "patches.json"), "training")
                run_training(task, folder, work, log)
                if own is not None:
                    own.artifact(folder / "training.json")

    return fill, record


def forget_unfinished(model: Path, mlflow_run: dict[str, str | None]) -> None:
    """Delete the work folder, once the model and its run are in their place.

    Where another process has begun the same training again in the meantime, it stays that one's.
    """
    from balle_li.errors import TrainingError
    from balle_li.training.checkpoint import training_lock

    if mlflow_run["run_id"] is None or mlflow_run["work"] is None:
        return
    work = _work_folder(mlflow_run["work"])
    with suppress(TrainingError), training_lock(work):
        shutil.rmtree(work, ignore_errors=True)


def _open_run(work: Path, parameters: dict[str, Any], tags: dict[str, str]) -> str | None:
    """The id of the run that the training in `work` belongs to; noted there, for when it is interrupted."""
    from balle_li.compute import rank
    from balle_li.files import read_json, write_json
    from balle_li.tracking import run

    if rank() != 0:
        return None
    unfinished = work / "mlflow_run.json"
    run_id = run.open_run(parameters, tags, read_json(unfinished)["run_id"] if unfinished.exists() else None)
    write_json(unfinished, {"run_id": run_id})
    return run_id


def _task(
    patch_store: Path,
    model: dict[str, Any],
    train: dict[str, Any],
    lmbda: float,
    class_weights: dict[str, float],
    seed: int,
) -> "Task":
    from balle_li.config import TrainConfig, read
    from balle_li.registry import ModelConfig
    from balle_li.training.task import Task
    from pipelines.train import initial_weights

    model_config = ModelConfig.of(model)
    start = train.get("init_from")
    located = {**train, "init_from": initial_weights.locate(start, model_config.facts(), train["tune"])}
    train_config = read(TrainConfig, located, "train")
    return Task(patch_store, model_config, train_config, lmbda, class_weights, seed)


def _work_folder(work: str) -> Path:
    """Where an unfinished training lies: in the checkout, since DVC empties a stage's outputs before it runs."""
    from balle_li.files import project_home

    return project_home() / ".train" / work
