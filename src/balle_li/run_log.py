"""What training and evaluation tell the run they belong to, whoever keeps it (MLflow, in `tracking.py`)."""

from pathlib import Path
from typing import Protocol

import numpy as np


class RunLog(Protocol):
    """A place for figures, pictures and files of one run."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Record `values` at training step `step`."""

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """Record a uint8 RGB picture `(H, W, 3)` made at training step `step`."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of the file `path`, in the run's folder `folder` if one is named."""


class NoLog:
    """A RunLog that keeps nothing."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        pass

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        pass

    def artifact(self, path: Path, folder: str | None = None) -> None:
        pass
