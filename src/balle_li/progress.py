"""How long work reports: a bar on a terminal, lines in a log, and the log of a run."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Advance = Callable[[int], None]

LOG_EVERY_SECONDS = 15.0

_SILENT = ContextVar("_SILENT", default=False)


@contextmanager
def silent(wanted: bool = True) -> Iterator[None]:
    """Report no progress within the block, if that is `wanted`."""
    token = _SILENT.set(_SILENT.get() or wanted)
    try:
        yield
    finally:
        _SILENT.reset(token)


@contextmanager
def progress(description: str, total: int, unit: str) -> Iterator[Advance]:
    """Yield `advance(n)`, to be called after every `n` finished items of `total`; output goes to stderr.

    Example: ``with progress("Cutting patches", len(pictures), "pictures") as advance: ... advance(1)``
    """
    if _SILENT.get():
        yield lambda n: None
    elif sys.stderr.isatty():
        with _bar(description, total, unit) as advance:
            yield advance
    else:
        with _lines(description, total, unit) as advance:
            yield advance


@contextmanager
def _bar(description: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(rate(speed, unit) if speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def _lines(description: str, total: int, unit: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS and done < total:
            last = now
            speed = done / (now - start)
            remaining = duration((total - done) / speed) if speed else "unknown time"
            _print(f"{description}: {done}/{total} {unit}, {rate(speed, unit)}, {remaining} remaining")

    yield advance
    seconds = time.monotonic() - start
    pace = f" ({rate(done / seconds, unit)})" if done and seconds else ""
    _print(f"{description}: {done}/{total} {unit} in {duration(seconds)}{pace}")


def rate(per_second: float, unit: str) -> str:
    """`4.2 steps/s`; by the minute or the hour where there is less than one in a second or a minute."""
    for seconds, name in ((1, "s"), (60, "min")):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.1f} {unit}/{name}"
    return f"{per_second * 3600:.1f} {unit}/h"


def duration(seconds: float) -> str:
    """`7.1 s`, `95 s`, `42 min` or `3 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class RunLog:
    """Metrics, pictures and files of one run."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Record `values` at training step `step`."""

    def picture(self, name: str, step: int, image: "np.ndarray") -> None:
        """Record a uint8 RGB picture `(H, W, 3)` made at training step `step`."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of the file `path`, in the run's folder `folder` if one is named."""


class NoLog(RunLog):
    """A RunLog that keeps nothing."""
