"""Ctrl-C and SIGTERM while a model trains, and when its checkpoint is due."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STEPS_BETWEEN_AGREEMENTS = 10  # of several processes, about whether to save
GO_ON, SAVE, STOP = range(3)


class Interruption:
    """Says after each step whether to go on, to save, or to save and stop; all processes of a training hear the same.

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
        """GO_ON, SAVE or STOP, after `step` steps."""
        due = time.monotonic() - self._saved_at >= self._seconds
        own = STOP if self._stop_requested else SAVE if due else GO_ON
        if self._processes == 1:
            return own
        if step % _STEPS_BETWEEN_AGREEMENTS:
            return GO_ON
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
