"""Trying again on a bad network: which failures pass, and how long to wait."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

LONGEST_REASON = 80
"""Characters."""


class TransientError(Exception):
    """A failure that may pass: a lost connection, a cut body, an overloaded server. Its message is the reason."""


@dataclass(frozen=True)
class Patience:
    """How often and how long to try: the waits double from `first_seconds` to `longest_seconds`."""

    attempts: int = 7
    first_seconds: float = 0.25
    longest_seconds: float = 8.0

    def wait(self, failures: int, stop: threading.Event | None = None) -> None:
        """Wait after the `failures`-th failure in a row, or until `stop` is set.

        The wait is drawn between half of its length and all of it, so that parallel workers do not come back together.
        """
        seconds = min(self.first_seconds * 2 ** (failures - 1), self.longest_seconds)
        (stop or threading.Event()).wait(seconds * random.uniform(0.5, 1.0))

    def call(self, action: Callable[[], Result], stop: threading.Event | None = None) -> Result:
        """`action()`, again after each TransientError; the last one is raised when patience ends or `stop` is set."""
        failures = 0
        while True:
            try:
                return action()
            except TransientError:
                failures += 1
                if failures >= self.attempts or (stop is not None and stop.is_set()):
                    raise
                self.wait(failures, stop)


PATIENCE = Patience()


def short_reason(error: BaseException) -> str:
    """Why a connection failed, in the operating system's few words: libraries wrap them in addresses and classes."""
    seen: list[BaseException] = []
    at: object = error
    while isinstance(at, BaseException) and at not in seen:
        seen.append(at)
        inner = getattr(at, "reason", None)
        at = inner if isinstance(inner, BaseException) else at.__cause__ or at.__context__
    for found in reversed(seen):
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
    if any("time" in type(found).__name__.lower() and "out" in type(found).__name__.lower() for found in seen):
        return "no answer in time"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"


def is_transient_status(status: int) -> bool:
    """Whether an HTTP status says that the same request may succeed later."""
    return status >= 500 or status in (408, 425, 429)
