"""The whole of params.yaml, typed: every command checks all of it before it starts, not each stage its own part."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balle_li.compute import ComputeConfig
from balle_li.configuration import from_mapping, require
from balle_li.datasets.curation import CurationConfig
from balle_li.datasets.patches import PatchConfig
from balle_li.datasets.sources import DatasetConfig
from balle_li.evaluation.compare_config import CompareConfig
from balle_li.evaluation.config import EvaluationConfig
from balle_li.files import project_home
from balle_li.models.registry import ModelConfig
from balle_li.tracking.promotion import RegisterConfig
from balle_li.training.config import TrainConfig


@dataclass(frozen=True)
class Parameters:
    """Every section, and the parameters that several stages share."""

    seed: int
    lmbda: float  # J = lmbda * 255^2 * MSE + bpp
    class_weights: dict[str, float]  # how much a box of a class counts
    dataset: DatasetConfig
    curate: CurationConfig
    patches: PatchConfig
    compute: ComputeConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluationConfig
    register: RegisterConfig
    compare: CompareConfig

    def __post_init__(self) -> None:
        require(self.lmbda > 0, f"lmbda is {self.lmbda:g}, must be positive")
        for label, weight in self.class_weights.items():
            require(weight >= 0, f"class_weights.{label} is {weight:g}, must not be negative")
        crop, size = self.train.crop, self.patches.size
        require(crop <= size, f"train.crop is {crop}, but patches.size is only {size}")
        for name, path in self.evaluate.extra_sets.items():
            folder = project_home() / Path(path).expanduser()
            require(folder.is_dir(), f"evaluate.extra_sets.{name}: {path} is not a folder; correct it, or take it out")


def check(values: Mapping[str, Any]) -> None:
    """Raise ConfigError unless `values`, params.yaml as a nested mapping, has every parameter with a value that will do.

    Imports nothing that takes time: it costs milliseconds.
    """
    from_mapping(Parameters, values, "")
