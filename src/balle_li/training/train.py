"""Train a model on a patch store and leave a finished model folder; or go on with a training that was interrupted."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch._dynamo.exc import TorchDynamoException

from balle_li.codec.model_folder import DESCRIPTION_FILE, TENSORS_FILE
from balle_li.configuration import require
from balle_li.datasets.patch_store import PatchStore
from balle_li.distributed import rank, world_size
from balle_li.errors import TrainingError
from balle_li.files import write_json
from balle_li.models.base import CompressionModel
from balle_li.models.config import ModelConfig
from balle_li.run_log import RunLog
from balle_li.training.checkpoint import CHECKPOINT_FILE, load_weights, save_weights
from balle_li.training.config import TrainConfig
from balle_li.training.counted_tables import with_counted_tables
from balle_li.training.curves import Curves, improves_no_more
from balle_li.training.data import Batches, crop_source
from balle_li.training.device import choose_device, choose_precision, device_name, keep_freed_memory, process_layout
from balle_li.training.export import model_folder
from balle_li.training.interruption import Checkpoints, Interrupted, ProgressLine
from balle_li.training.lock import training_lock
from balle_li.training.module import TrainingModule
from balle_li.training.task import Task
from balle_li.training.trainer import make_trainer, quiet
from balle_li.training.validation import Validation

LAST = "last.ckpt"  # in `work`: the whole state of a training
BEST = "best"  # in `work`: a folder with the best weights so far
TRAINING_FILE = "training.json"


def train(
    patches: Path,
    model: ModelConfig,
    config: TrainConfig,
    lmbda: float,
    class_weights: Mapping[str, float],
    seed: int,
    folder: Path,
    work: Path,
    log: RunLog,
) -> None:
    """Fill `folder` with model.safetensors, model.json, checkpoint.safetensors (training weights) and training.json.

    patches: a patch store, splits train and validation. work: where an unfinished training is kept; if one of the same
    parameters and patches lies there, training goes on from it to the same number of steps, and ends with the weights
    that it would have had (bit for bit on a CPU in fp32). It is left in place for the caller to delete.
    Under torchrun every process calls this with the same arguments; each batch is split among them, and the first one
    writes. The model is the best by the cost of the validation patches, the last one where there are none.

    Raises ConfigError, StageError (no finished patches), TrainingError (diverged, no such device, two at a time), and
    KeyboardInterrupt after Ctrl-C or SIGTERM, when the training has been saved.
    """
    store = PatchStore(patches, "train")
    if len(store) == 0:
        raise TrainingError(f"{patches} holds no training patches; curate more pictures or raise curate.split.train")
    task = Task(patches, model, config, lmbda, class_weights, seed)
    first = task.new_model()
    _check(config, store, first)
    keep_freed_memory()
    with training_lock(work):
        first_step, done = _progress_so_far(work / LAST, task)
        if not done:
            _fit(task, work, first, store, first_step, log)
        if rank() == 0:
            _finish(task, work, folder)


def _fit(task: Task, work: Path, model: CompressionModel, store: PatchStore, first_step: int, log: RunLog) -> None:
    """Train from `first_step`, for which the state lies in `work`, to the end; leaves the last and the best weights there."""
    config, last, best = task.config, work / LAST, work / BEST
    accelerator = choose_device(config.device)
    precision = choose_precision(config.precision, accelerator)
    share = rank(), world_size()
    weighting = task.class_weights if config.lmbda_box > 0 else None
    validation_store = PatchStore(task.patches, "validation")
    validation = Validation(validation_store, model.downsampling, weighting, share) if len(validation_store) else None
    curves = Curves(validation, config, best, log)
    checkpoints = Checkpoints(last, best, config.checkpoint_minutes, config.steps, task.fingerprint())
    line = ProgressLine(model.name, config.steps)
    module = TrainingModule(model, config, task.lmbda, task.seed)
    with quiet(), checkpoints.signals_caught(), line.shown(first_step, visible=share[0] == 0):
        # The checkpoint holds the curves, so they come first.
        trainer = make_trainer(config, accelerator, precision, [line, curves, checkpoints], work)
        device = trainer.strategy.root_device
        source = crop_source(store, config.crop, config.batch_size, task.seed, weighting, share, device)
        batches = Batches(source, first_step=lambda: trainer.global_step)
        try:
            trainer.fit(module, batches, ckpt_path=last if first_step else None, weights_only=True)
        except Interrupted:
            raise KeyboardInterrupt from None
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"torch.compile failed ({reason}); install a C++ compiler or set train.compile=false"
            ) from None


def _finish(task: Task, work: Path, folder: Path) -> None:
    """Export the best weights. model.json comes last: a folder that has one is whole."""
    model = task.new_model()
    best_step = int(load_weights(model, work / BEST / CHECKPOINT_FILE)["step"])
    curves = torch.load(work / LAST, map_location="cpu", weights_only=True)["callbacks"][Curves.__qualname__]
    validation = next((record for record in curves["validations"] if record["step"] == best_step), None)
    summary = {"steps": task.config.steps, "best_step": best_step, "validation": validation}
    accelerator = choose_device(task.config.device)
    machine = {"device": device_name(accelerator), "precision": choose_precision(task.config.precision, accelerator)}
    folder.mkdir(parents=True, exist_ok=True)
    codec = model_folder(model, task.lmbda, summary, task.config.structure)
    if codec.conditional:
        codec = with_counted_tables(codec, PatchStore(task.patches, "train"))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as name:
        part = Path(name)
        codec.save(part)
        save_weights(model, part / CHECKPOINT_FILE, {"step": str(best_step)})
        write_json(part / TRAINING_FILE, task.facts() | summary | machine | curves)
        (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
        for file in (TENSORS_FILE, CHECKPOINT_FILE, TRAINING_FILE, DESCRIPTION_FILE):
            os.replace(part / file, folder / file)


def _check(config: TrainConfig, store: PatchStore, model: CompressionModel) -> None:
    local, machines = process_layout()
    processes = local * machines
    require(config.crop <= store.size, f"train.crop is {config.crop}, but patches.size is only {store.size}")
    require(
        config.crop % model.downsampling == 0,
        f"train.crop is {config.crop}, must be a multiple of {model.downsampling} for {model.name}",
    )
    require(
        config.batch_size % processes == 0,
        f"train.batch_size is {config.batch_size}, must be a multiple of the {processes} processes",
    )


def _progress_so_far(last: Path, task: Task) -> tuple[int, bool]:
    """The steps done by the training saved in `last`, and whether it is over; 0 steps if it is not this task's."""
    if not last.exists():
        return 0, False
    checkpoint = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
    if checkpoint["fingerprint"] != task.fingerprint():
        return 0, False
    step, validations = int(checkpoint["global_step"]), checkpoint["callbacks"][Curves.__qualname__]["validations"]
    return step, step >= task.config.steps or improves_no_more(validations, task.config.patience)
