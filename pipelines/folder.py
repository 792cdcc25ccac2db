"""A folder as a Kedro dataset: loaded as its path, saved by a function that fills it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

Fill = Callable[[Path], None]


class Folder(AbstractDataset[Fill, Path]):
    """A folder that one stage makes as a whole.

    `save(fill)` calls `fill(part)` on an empty folder beside the final one and swaps the two when it succeeds:
    an interrupted stage leaves the old folder as it was, and files that DVC has linked into its cache are
    replaced, never written to.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        if not self._exists():
            raise DatasetError(f"{self._filepath} does not exist")
        return self._filepath

    def save(self, data: Fill) -> None:
        part = self._filepath.with_name(f".{self._filepath.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            data(part)
            old = self._filepath.with_name(f".{self._filepath.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if self._filepath.exists():
                os.replace(self._filepath, old)
            os.replace(part, self._filepath)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
