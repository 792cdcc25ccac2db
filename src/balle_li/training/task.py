"""What is to be trained: the parameters, the patches and the weights to start from, and one hash of them all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from balle_li.files import sha256_file
from balle_li.models.base import CompressionModel
from balle_li.models.layers import ScaledConvolution
from balle_li.models.registry import ModelConfig, build
from balle_li.training.checkpoint import load_weights, weights_file
from balle_li.training.config import TrainConfig

_WITHOUT_EFFECT = ("device", "checkpoint_minutes")
"""Parameters that say where a training runs and how often it is saved, and do not change what comes out."""


@dataclass(frozen=True)
class Task:
    """A training. patches: a patch store."""

    patches: Path
    model: ModelConfig
    config: TrainConfig
    lmbda: float
    class_weights: Mapping[str, float]
    seed: int

    def facts(self) -> dict[str, Any]:
        """The parameters, for training.json."""
        own = {"lmbda": self.lmbda, "class_weights": dict(self.class_weights), "seed": self.seed}
        return {"model": self.model.facts()} | own | {"train": asdict(self.config)}

    def fingerprint(self) -> str:
        """A hash of what the result depends on: an interrupted training of the same fingerprint resumes.

        Weights to start from count by what they are, wherever they lie.

        Raises TrainingError: there are no weights at `init_from`.
        """
        facts, start = self.facts(), self.config.init_from
        for name in (*_WITHOUT_EFFECT, "init_from"):
            del facts["train"][name]
        weights = None if start is None else sha256_file(weights_file(start))
        identity = json.dumps([facts, sha256_file(self.patches / "patches.json"), weights], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()

    def new_model(self) -> CompressionModel:
        """The model as training starts from it. Raises ConfigError: no such model; TrainingError: as `load_weights`."""
        torch.manual_seed(self.seed)
        model = build(self.model).to(memory_format=torch.channels_last)
        if self.config.init_from is not None:
            load_weights(model, weights_file(self.config.init_from))
            for part in model.modules():
                if isinstance(part, ScaledConvolution):
                    part.as_plain()
        return model
