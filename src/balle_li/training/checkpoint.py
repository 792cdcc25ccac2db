"""What an interrupted training leaves, and how it stops: its lock, its last state, its best weights, Ctrl-C and SIGTERM."""

import json
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

import torch
import torch.distributed
from filelock import FileLock, Timeout

from balle_li.codec.model_folder import TENSORS_FILE, load_state, read_tensors, write_tensors
from balle_li.compute import rank
from balle_li.errors import BalleLiError, TrainingError
from balle_li.files import atomic_path
from balle_li.models.base import CompressionModel
from balle_li.registry import same_model

LAST = "last.ckpt"  # in a work folder: the whole state of a training
BEST = "best"  # in a work folder: a folder with the best weights so far, which `init_from` takes
CONTINUE, SAVE, STOP = range(3)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STEPS_BETWEEN_AGREEMENTS = 10  # of several processes, about whether to save


def save_weights(model: CompressionModel, path: Path, facts: dict[str, str]) -> None:
    """Write the model's weights, with its name, hyperparameters and `facts` as the file's metadata; atomically."""
    write_tensors(path, model, model.state_dict(), facts)


def weights_file(place: str | Path) -> Path:
    """The file of training weights at `place`: a model folder's, or the file itself.

    Raises TrainingError when it does not exist.
    """
    path = Path(place)
    if path.is_dir():
        path = path / TENSORS_FILE
    if not path.is_file():
        raise TrainingError(f"{path} does not exist: train.init_from names a model folder or its {TENSORS_FILE}")
    return path


def load_weights(model: CompressionModel, path: Path) -> dict[str, str]:
    """Read the weights of a model folder, or what `save_weights` wrote, into a model of the same name and hyperparameters.

    Returns the file's facts. Raises TrainingError: the file is missing or damaged, or holds another model.
    """
    try:
        tensors, facts = read_tensors(path)
    except BalleLiError as error:
        raise TrainingError(f"train.init_from: {error}") from None
    if "model" not in facts:
        raise TrainingError(f"{path} holds no training weights; name a model folder or its {TENSORS_FILE}")
    found, own = json.loads(facts["model"]), {"name": model.name, **model.arguments}
    if not same_model(own, found):
        raise TrainingError(f"{path} holds {_said(found)}, not {_said(own)}; set the section model to match")
    try:
        load_state(model, tensors)
    except BalleLiError as error:
        raise TrainingError(f"{path}: {error}") from None
    return facts


def save_state(work: Path, state: dict[str, Any]) -> None:
    """Write the whole state of a training, atomically. `state["fingerprint"]` says which training it is.

    Raises BalleLiError when the disk is full.
    """
    with atomic_path(work / LAST) as part, open(part, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None  # torch's own says only where in the file it stood
            raise
        file.flush()
        os.fsync(file.fileno())  # or a power cut may leave an empty file in the place of the last good one


def saved_state(work: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state that `save_state` wrote; None where there is none, or it is another training's.

    Raises TrainingError: the file is damaged.
    """
    path = work / LAST
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["fingerprint"] == fingerprint else None
    except Exception as error:  # torch meets damaged files with a dozen kinds
        raise TrainingError(f"{path} is damaged or cannot be read; delete it to start the training again") from error


@contextmanager
def training_lock(work: Path) -> Iterator[None]:
    """Hold `work` against a second training; of several processes under torchrun the first one holds it. May be nested.

    Raises TrainingError: another process holds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    if rank() != 0:
        yield
        return
    lock = FileLock(work / "lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(f"another process trains the same model in {work}; wait for it, or stop it first") from None
    try:
        yield
    finally:
        lock.release()


class Interruption:
    """Says after each step whether to continue, to save, or to save and stop; all processes of a training get the same answer.

    minutes: from one save to the next.
    """

    def __init__(self, minutes: float, processes: int, device: torch.device) -> None:
        self._seconds, self._processes, self._device = minutes * 60, processes, device
        self._stop_requested = False
        self.saved()

    def saved(self) -> None:
        """The state was saved just now."""
        self._saved_at = time.monotonic()

    def what_next(self, step: int) -> int:
        """CONTINUE, SAVE or STOP, after `step` steps."""
        due = time.monotonic() - self._saved_at >= self._seconds
        own = STOP if self._stop_requested else SAVE if due else CONTINUE
        if self._processes == 1:
            return own
        if step % _STEPS_BETWEEN_AGREEMENTS:
            return CONTINUE
        agreed = torch.tensor(own, device=self._device)
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
        sys.stderr.write("\nStopping after this step; the training is saved and resumes from there next time.\n")


def _said(model: dict[str, object]) -> str:
    arguments = ", ".join(f"{key} = {value}" for key, value in model.items() if key != "name")
    return f"{model['name']}{f' with {arguments}' if arguments else ''}"
