"""Progress of long work: a bar with rate and time left on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]

LOG_EVERY_SECONDS = 15.0


@contextmanager
def progress(description: str, total: int, unit: str) -> Iterator[Advance]:
    """Yield `advance(n)`, to be called after every `n` finished items of `total`; output goes to stderr.

    Example: ``with progress("Cutting patches", len(pictures), "pictures") as advance: ... advance(1)``
    """
    if sys.stderr.isatty():
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
            return Text(f"{speed:.1f} {unit}/s" if speed else "")

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
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate if rate else 0.0
            print(
                f"{description}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    yield advance
    seconds = time.monotonic() - start
    rate = done / seconds if seconds else 0.0
    print(f"{description}: {done}/{total} {unit} in {seconds:.1f} s ({rate:.1f} {unit}/s)", file=sys.stderr, flush=True)
