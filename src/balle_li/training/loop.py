"""Train a model on a patch store and leave a finished model folder; or resume a training that was interrupted.

`train` prepares and ends, `_run` is the training itself, top to bottom: a step, its curve, validation, checkpoint, end.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from balle_li.codec.model_folder import TENSORS_FILE
from balle_li.compute import rank, world_size
from balle_li.config import TrainConfig
from balle_li.data.patch_store import PatchStore
from balle_li.errors import ConfigError, TrainingError
from balle_li.latents.base import UniformNoise
from balle_li.models.base import CompressionModel
from balle_li.progress import RunLog, progress
from balle_li.training.batches import batches_from, crop_source, draw_quality_maps, pixels
from balle_li.training.checkpoint import (
    BEST,
    CONTINUE,
    STOP,
    Interruption,
    save_state,
    save_weights,
    saved_state,
    training_lock,
)
from balle_li.training.device import (
    choose_device,
    choose_precision,
    keep_freed_memory,
    make_fabric,
    process_layout,
    products_in,
)
from balle_li.training.export import export
from balle_li.training.loss import Cost, RateDistortionLoss
from balle_li.training.optimizer import make_optimizer, make_scheduler
from balle_li.training.task import Task
from balle_li.training.validation import History, Record, Validation, improves_no_more, psnr

_NOISE = 3  # keeps these random numbers apart from those of `batches`

logger = logging.getLogger(__name__)


def train(task: Task, folder: Path, work: Path, log: RunLog) -> None:
    """Fill `folder` with model.safetensors, model.json and training.json.

    work: where an unfinished training is kept; if one of the same parameters and patches lies there, it is resumed up to
    the same number of steps, and ends with the weights that it would have had (bit for bit on a CPU in fp32). It is left in
    place for the caller to delete. Under torchrun every process calls this with the same arguments; each batch is split
    among them, and the first one writes. The model is the best by the cost of the validation patches, the last one where
    there are none. A model that is taken with its published weights is not trained.

    Raises ConfigError, StageError (no finished patches), TrainingError (diverged, no such device, two at a time), and
    KeyboardInterrupt after Ctrl-C or SIGTERM, when the training has been saved.
    """
    store = PatchStore(task.patches, "train")
    if len(store) == 0:
        raise TrainingError(
            f"{task.patches} holds no training patches; curate more pictures or raise curate.split.train"
        )
    model = task.new_model()
    if model.trained_for is None:
        _check(task.config, store, model)
    keep_freed_memory()
    with training_lock(work):
        saved = saved_state(work, task.fingerprint())
        if model.trained_for is not None:
            save_weights(model, work / BEST / TENSORS_FILE, {"step": "0"})
            history = History(0).state()
        elif saved is not None and _is_over(saved, task.config):
            history = saved["history"]
        else:
            history = _run(task, model, store, saved, work, log)
        if rank() == 0:
            export(task, work / BEST / TENSORS_FILE, history, folder)


def _run(
    task: Task, model: CompressionModel, store: PatchStore, saved: dict[str, Any] | None, work: Path, log: RunLog
) -> dict[str, Any]:
    """Train from the state `saved` to the end; leaves the last state and the best weights in `work`, returns the history."""
    config, process = task.config, (rank(), world_size())
    accelerator = choose_device(config.device)
    precision = choose_precision(config.precision, accelerator)
    fabric = make_fabric(accelerator, precision)
    class_weights = task.class_weights if config.lmbda_box > 0 else None
    source = crop_source(
        store, config.crop, config.batch_size, task.seed, class_weights, process, fabric.device, config.smooth_fraction
    )

    step_module = TrainingStep(
        model.to(fabric.device), RateDistortionLoss(task.lmbda, config.lmbda_box, config.loss_ms_ssim_weight)
    )
    optimizer = make_optimizer(model, config.optimizer, config.highest_lr)
    scheduler = make_scheduler(optimizer, config.schedule, config.steps, config.warmup)
    compiled_step, wrapped_optimizer = fabric.setup(
        _compiled(step_module) if config.compile else step_module, optimizer
    )
    split_noise(model, process)

    validation_store = PatchStore(task.patches, "validation")
    validation = None
    if len(validation_store):
        validation = Validation(validation_store, model, step_module.loss, fabric, class_weights, process)
    step, history, totals = 0, History(config.steps), Totals(fabric.device)
    if saved is not None:
        step = saved["step"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        history.resume(saved["history"])
    del saved

    def save() -> None:
        if not totals.are_finite_with(model):
            raise TrainingError(_diverged(step, work / BEST))
        if process[0] == 0:
            state = {"fingerprint": task.fingerprint(), "step": step, "history": history.state()}
            state |= {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
            }
            save_state(work, state)
        interruption.saved()

    def validate() -> None:
        started = time.monotonic()
        better = True
        if validation is not None:
            values = validation.run()
            if not math.isfinite(values["loss"]):
                raise TrainingError(_diverged(step, work / BEST))
            better = history.add_validation(step, values)
        if process[0] == 0:
            if better:
                save_weights(model, work / BEST / TENSORS_FILE, {"step": str(step)})
            if validation is not None:
                _report_validation(step, values, validation, log)
        history.count_pause(started)

    interruption = Interruption(config.checkpoint_minutes, process[1], fabric.device)
    name = f"Training {model.name}{f' from step {step}' if step else ''}"
    line = progress(name, config.steps - step, "steps") if process[0] == 0 else nullcontext(lambda done: None)
    with interruption.signals_caught(), line as advance, _compiler_errors():
        model.train()
        if config.init_from is not None and step == 0 and validation is not None:
            validate()  # weights that are as good as any that follow are kept
        history.start_clock()
        for batch in batches_from(source, step):
            # All that is random in a step is drawn from a generator seeded with (seed, step).
            torch.manual_seed(int(np.random.SeedSequence([task.seed, _NOISE, step]).generate_state(1)[0]))
            model.latent_codec.noisy_decoder = step < config.noise_steps
            weights = None if batch.weights is None else batch.weights.unsqueeze(1)
            r = quality_maps(model, batch.images.shape, weights, fabric.device, process)
            cost: Cost = compiled_step(batch.images.to(fabric.device, non_blocking=True), weights, r)
            wrapped_optimizer.zero_grad()
            fabric.backward(cost["loss"])
            if config.clip > 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            with products_in(precision):
                wrapped_optimizer.step()
            scheduler.step()
            totals.add(cost)
            step += 1
            advance(1)

            last = step == config.steps
            if step % history.every == 0 or last:
                means, steps = totals.take()
                if not math.isfinite(means["loss"]):
                    raise TrainingError(_diverged(step, work / BEST))
                means |= {"psnr": psnr(means["mse"]), "learning_rate": float(optimizer.param_groups[-1]["lr"])}
                _send(log, step, "train", history.add_point(step, means, steps))
            if step % config.validate_every == 0 or last:
                validate()
                last = last or improves_no_more(history.validations, config.patience)
            next_is = interruption.what_next(step)
            if last or next_is != CONTINUE:
                save()
            if next_is == STOP:
                raise KeyboardInterrupt
            if last:
                break
    return history.state()


class TrainingStep(nn.Module):
    """A model with its loss: torch.compile and DDP take the two as one module.

    images: uint8 `(B, H, W, 3)`; weights: the box weight maps `(B, 1, H, W)`; r: the quality maps of variable-rate models.
    """

    def __init__(self, model: CompressionModel, loss: RateDistortionLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, images: Tensor, weights: Tensor | None, r: Tensor | None) -> Cost:
        x = pixels(images)
        return self.loss(self.model(x, r), x, weights, r)


class Totals:
    """Sums of the cost's terms. They stay on the device, so that no step waits for the one before."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(len(Cost.__annotations__) + 1, device=device)

    @torch.no_grad()
    def add(self, cost: Cost) -> None:
        """The cost of one more step."""
        self._sums += torch.stack([*cost.values(), torch.ones_like(cost["loss"])])  # type: ignore[list-item]

    def take(self) -> tuple[Record, int]:
        """The means of the cost's terms since the last call, and over how many steps."""
        *sums, steps = self._sums.tolist()
        self._sums.zero_()
        return {name: value / max(steps, 1) for name, value in zip(Cost.__annotations__, sums, strict=True)}, int(steps)

    def are_finite_with(self, model: CompressionModel) -> bool:
        """Whether these sums and all of the model's weights are numbers."""
        sums = [self._sums.sum(), *(weight.detach().sum() for weight in model.parameters())]
        return bool(torch.stack(sums).isfinite().all())


def quality_maps(
    model: CompressionModel, images: torch.Size, weights: Tensor | None, device: torch.device, process: tuple[int, int]
) -> Tensor | None:
    """The quality maps of one step `(B, 1, h, w)`, on `device`; None for models of one rate."""
    if not model.latent_codec.variable_rate:
        return None
    count, height, width, _ = images
    grid = height // model.downsampling, width // model.downsampling
    return draw_quality_maps(count, *grid, weights, device, process)


def split_noise(model: CompressionModel, process: tuple[int, int]) -> None:
    """Let the model draw its part of the noise that one process alone would draw. process: (rank, processes)."""
    for part in model.modules():
        if isinstance(part, UniformNoise):
            part.process = process


def _compiled(module: TrainingStep) -> Any:
    # With random numbers of its own a compiled step would not be the step that it stands for.
    return torch.compile(module, options={"fallback_random": True})


@contextmanager
def _compiler_errors() -> Iterator[None]:
    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(
            f"torch.compile failed ({reason}); install a C++ compiler or set train.compile=false"
        ) from None


def _report_validation(step: int, values: Record, validation: Validation, log: RunLog) -> None:
    _send(log, step, "validation", values)
    log.picture("reconstructions", step, validation.picture())
    shown = values["loss"], values["bpp"], values["psnr"]
    logger.info("step %d: validation loss %.3f, %.3f bpp, %.2f dB", step, *shown)


def _send(log: RunLog, step: int, split: str, values: Record) -> None:
    if rank() == 0:
        log.metrics(step, {f"{split}/{name}": value for name, value in values.items()})


def _diverged(step: int, best: Path) -> str:
    """One line for a training whose cost stopped being a number, naming what is still good."""
    if (best / TENSORS_FILE).exists():
        rest = f"the last good weights are in {best} (train.init_from takes them)"
    else:
        rest = "there are no good weights yet"
    return f"training diverged near step {step}: the cost is not a number; {rest}. Try a lower train.lr or train.clip"


def _check(config: TrainConfig, store: PatchStore, model: CompressionModel) -> None:
    local, machines = process_layout()
    processes = local * machines
    if config.crop > store.size:
        raise ConfigError(f"train.crop is {config.crop}, but patches.size is only {store.size}")
    if config.crop % model.side_multiple:
        raise ConfigError(f"train.crop is {config.crop}, must be a multiple of {model.side_multiple} for {model.name}")
    if config.batch_size % processes:
        raise ConfigError(f"train.batch_size is {config.batch_size}, must be a multiple of the {processes} processes")


def _is_over(saved: dict[str, Any], config: TrainConfig) -> bool:
    validations = saved["history"]["validations"]
    return bool(saved["step"] >= config.steps) or improves_no_more(validations, config.patience)
