"""A training that may be stopped at any time: checkpoints now and then, and at once on Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed

from balle_li.errors import TrainingError
from balle_li.progress import progress
from balle_li.training.curves import diverged
from balle_li.training.module import TrainingModule

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STEPS_BETWEEN_AGREEMENTS = 10  # of several processes, about whether to save
_GO_ON, _SAVE, _STOP = range(3)


class Interrupted(Exception):
    """Training was asked to stop, and its checkpoint is saved."""


class Checkpoints(pl.Callback):
    """Saves `last` every `minutes`, when the training ends and when a signal asks to stop; never weights that are not numbers.

    last: a Lightning checkpoint: weights, optimizer, learning rate, curves, step; and `fingerprint`, which tells what
    is being trained. Replaced atomically.

    Raises Interrupted after a signal, TrainingError when the weights are not numbers.
    """

    def __init__(self, last: Path, best: Path, minutes: float, steps: int, fingerprint: str) -> None:
        self.last, self.best, self.seconds, self.steps, self.fingerprint = last, best, minutes * 60, steps, fingerprint
        self._stop_requested = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["fingerprint"] = self.fingerprint

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        step = trainer.global_step
        wish = self._wish(trainer, step)
        if wish == _GO_ON and step < self.steps and not trainer.should_stop:
            return
        if not pl_module.is_finite():
            raise TrainingError(diverged(step, self.best))
        part = self.last.with_name(f".{self.last.name}.part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.last)
        self._saved_at = time.monotonic()
        if wish == _STOP:
            raise Interrupted

    def _wish(self, trainer: pl.Trainer, step: int) -> int:
        due = time.monotonic() - self._saved_at >= self.seconds
        wish = _STOP if self._stop_requested else _SAVE if due else _GO_ON
        if trainer.world_size == 1:
            return wish
        if step % _STEPS_BETWEEN_AGREEMENTS:
            return _GO_ON
        agreed = torch.tensor(wish, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
        return int(agreed)

    @contextmanager
    def signals_caught(self) -> Iterator[None]:
        """Within, the first Ctrl-C or SIGTERM asks for a stop after the step at hand; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return
        before = {number: signal.signal(number, self._request_stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_requested:
            raise KeyboardInterrupt
        self._stop_requested = True
        sys.stderr.write("\nStopping after this step; the training is saved and goes on from there next time.\n")


class ProgressLine(pl.Callback):
    """The steps done, their rate and the time left, on rank zero's stderr."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps

    @contextmanager
    def shown(self, first_step: int, visible: bool) -> Iterator[None]:
        """Within, every finished step counts; a resumed training counts the steps that remain."""
        if not visible:
            self._advance = lambda n: None
            yield
            return
        start = f" from step {first_step}" if first_step else ""
        with progress(f"Training {self.name}{start}", self.steps - first_step, "steps") as self._advance:
            yield

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._advance(1)
