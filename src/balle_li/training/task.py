"""A training before it starts: its parameters, its patches, its initial weights, and one hash of them all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from balle_li.config import ZOO, TrainConfig
from balle_li.files import sha256_file
from balle_li.models.base import CompressionModel, build
from balle_li.models.layers import ScaledConvolution
from balle_li.registry import ModelConfig
from balle_li.training.checkpoint import load_weights, weights_file

_WITHOUT_EFFECT = ("device", "checkpoint_minutes")
"""Parameters that do not change the result: where a training runs, and how often it is saved."""


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

        Of initial weights the content counts, not the place.

        Raises TrainingError: there are no weights at `init_from`.
        """
        facts, start = self.facts(), self.config.init_from
        for name in (*_WITHOUT_EFFECT, "init_from"):
            del facts["train"][name]
        weights = start if start in (None, ZOO) else sha256_file(weights_file(start))
        identity = json.dumps([facts, sha256_file(self.patches / "patches.json"), weights], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()

    def new_model(self) -> CompressionModel:
        """The model as training starts from it.

        Raises ConfigError: no such model; TrainingError: as `load_weights` and `CompressionModel.load_published`.
        """
        torch.manual_seed(self.seed)
        model = build(self.model)
        model.to(memory_format=model.memory_format)
        if self.config.init_from == ZOO or model.trained_for is not None:
            model.load_published()
        elif self.config.init_from is not None:
            load_weights(model, weights_file(self.config.init_from))
            for part in model.modules():
                if isinstance(part, ScaledConvolution):
                    part.as_plain()
        return model
