"""Remove what the caches of this checkout no longer need: ``python -m balle_li.caches``.

- `.train`: a folder per interrupted training, which the same training resumes from; it goes when that was long ago;
- `.patches`: finished shards of an interrupted cutting, likewise.

`.evaluation`, the measurements of classical codecs, bounds itself. What another process is working with stays. Nothing
here is lost for good: what is missing is computed again.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from balle_li.errors import BalleLiError
from balle_li.files import project_home

LOCKS: dict[str, Callable[[Path], Path]] = {
    ".train": lambda folder: folder / "lock",
    ".patches": lambda folder: folder.with_suffix(".lock"),
}
"""The caches of interrupted work, and where the lock of one of their folders lies."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Remove what is older than `--days` and say how much that was. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m balle_li.caches", description="Remove interrupted work that nobody resumed for long."
    )
    parser.add_argument("--days", type=float, default=30, help="keep what was used since; default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    options = parser.parse_args(arguments)
    try:
        if options.days < 0:
            raise BalleLiError(f"--days is {options.days:g}, must not be negative")
        removed = clean(project_home(), options.days, options.dry_run)
    except BalleLiError as error:
        print(error, file=sys.stderr)
        return 1
    for cache, (entries, size) in removed.items():
        print(f"{cache}: {'would remove' if options.dry_run else 'removed'} {entries} entries, {size / 1e6:.1f} MB")
    return 0


def clean(home: Path, days: float, dry_run: bool = False) -> dict[str, tuple[int, int]]:
    """Remove from the caches in `home` what was last used more than `days` days ago, and is not in use.

    Returns for each cache how many entries went and their bytes.
    """
    before = time.time() - days * 86400
    removed = {}
    for cache, lock in LOCKS.items():
        folders = [path for path in (home / cache).glob("*") if path.is_dir()]
        sizes = [_remove(folder, lock(folder), before, dry_run) for folder in folders]
        known = [size for size in sizes if size is not None]
        removed[cache] = len(known), sum(known)
    return removed


def _remove(folder: Path, lock: Path, before: float, dry_run: bool) -> int | None:
    """Remove a folder and its lock; the bytes that were in it, None if it was used lately or is in use."""
    from filelock import FileLock, Timeout

    if _written(folder, lock) >= before:
        return None
    try:
        with FileLock(lock, timeout=0):
            if _written(folder, lock) >= before:  # its owner was just ending
                return None
            size = sum(path.stat().st_size for path in _files(folder))
            if not dry_run:
                shutil.rmtree(folder)
                lock.unlink(missing_ok=True)
            return size
    except Timeout:
        return None


def _written(folder: Path, lock: Path) -> float:
    """When a file in the folder was last written, its lock aside, which every look at it writes."""
    return max((path.stat().st_mtime for path in _files(folder) if path != lock), default=0.0)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


if __name__ == "__main__":
    sys.exit(main())
