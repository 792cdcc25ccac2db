"""The curves of a training: cost, learning rate and speed as it goes, validation, and the best weights so far."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from balle_li.errors import TrainingError
from balle_li.run_log import RunLog
from balle_li.training.checkpoint import CHECKPOINT_FILE, save_weights
from balle_li.training.config import TrainConfig
from balle_li.training.module import TrainingModule
from balle_li.training.validation import Validation, psnr

MAX_POINTS = 1000  # of a training curve
MIN_STEPS_PER_POINT = 50  # reading the cost off a GPU makes it wait

logger = logging.getLogger(__name__)


class Curves(pl.Callback):
    """Keeps curves, sends them to `log`, and stops a training whose cost is no longer a number.

    After every validation that is better than all before, the weights go to `<best>/checkpoint.safetensors`, a folder
    that `init_from` takes. Without validation patches the last weights are the best. After `config.patience` validations
    that were not, it ends the training.
    """

    def __init__(self, validation: Validation | None, config: TrainConfig, best: Path, log: RunLog) -> None:
        self.validation, self.config, self.best, self.run_log = validation, config, best, log
        self.every = max(1, min(MIN_STEPS_PER_POINT, config.steps // 20), config.steps // MAX_POINTS)
        self.training: list[dict[str, float]] = []
        self.validations: list[dict[str, float]] = []
        self.seconds = 0.0  # of training, in all sessions

    def state_dict(self) -> dict[str, Any]:
        return {"training": self.training, "validations": self.validations, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.training, self.validations = list(state_dict["training"]), list(state_dict["validations"])
        self.seconds = float(state_dict["seconds"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._time = time.monotonic()
        if self.config.init_from is not None and trainer.global_step == 0 and self.validation is not None:
            assert isinstance(pl_module, TrainingModule)
            self._validate(0, trainer, pl_module)  # weights that are as good as any that follow are kept

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        assert isinstance(pl_module, TrainingModule)
        if step % self.every == 0 or step == self.config.steps:
            self._add_point(step, trainer, pl_module)
        if step % self.config.validate_every == 0 or step == self.config.steps:
            self._validate(step, trainer, pl_module)
            trainer.should_stop = improves_no_more(self.validations, self.config.patience)

    def _add_point(self, step: int, trainer: pl.Trainer, module: TrainingModule) -> None:
        means, steps = module.take_totals()
        now = time.monotonic()
        elapsed, self._time = now - self._time, now
        self.seconds += elapsed
        if not math.isfinite(means["loss"]):
            raise TrainingError(diverged(step, self.best))
        values = means | {
            "psnr": psnr(means["mse"]),
            "learning_rate": float(trainer.optimizers[0].param_groups[-1]["lr"]),
            "steps_per_second": steps / elapsed if elapsed > 0 else 0.0,
        }
        self.training.append({"step": step} | values)
        self._send(trainer, step, "train", values)

    def _validate(self, step: int, trainer: pl.Trainer, module: TrainingModule) -> None:
        started = time.monotonic()
        previous = min((record["loss"] for record in self.validations), default=math.inf)
        if self.validation is not None:
            values = self.validation.run(module)
            if not math.isfinite(values["loss"]):
                raise TrainingError(diverged(step, self.best))
            self.validations.append({"step": step} | values)
            self._send(trainer, step, "validation", values)
        if trainer.is_global_zero:
            if self.validation is None or values["loss"] < previous:
                save_weights(module.model, self.best / CHECKPOINT_FILE, {"step": str(step)})
            if self.validation is not None:
                self.run_log.picture("reconstructions", step, self.validation.picture(module))
                logger.info(
                    "step %d: validation loss %.3f, %.3f bpp, %.2f dB",
                    step,
                    values["loss"],
                    values["bpp"],
                    values["psnr"],
                )
        spent = time.monotonic() - started
        self.seconds += spent
        self._time += spent  # not the training's

    def _send(self, trainer: pl.Trainer, step: int, split: str, values: dict[str, float]) -> None:
        if trainer.is_global_zero:
            self.run_log.metrics(step, {f"{split}/{name}": value for name, value in values.items()})


def improves_no_more(validations: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the last `patience` validations all cost no less than the best before them; never where that is 0."""
    costs = [record["loss"] for record in validations]
    return 0 < patience < len(costs) and min(costs[-patience:]) >= min(costs[:-patience])


def diverged(step: int, best: Path) -> str:
    """One line for a training whose cost stopped being a number, naming what is still good."""
    if (best / CHECKPOINT_FILE).exists():
        rest = f"the last good weights are in {best} (train.init_from takes them)"
    else:
        rest = "there are no good weights yet"
    return f"training diverged near step {step}: the cost is not a number; {rest}. Try a lower train.lr or train.clip"
