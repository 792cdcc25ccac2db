"""One training at a time in a work folder: who holds it has the run, the checkpoints and the model that come of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from balle_li.distributed import rank
from balle_li.errors import TrainingError


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
