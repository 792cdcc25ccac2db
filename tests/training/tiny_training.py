"""Trainings of seconds, of which the tests of `balle_li.training` make many."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from balle_li.codec.model_folder import TABLES, TENSORS_FILE
from balle_li.config import TrainConfig
from balle_li.progress import NoLog, RunLog
from balle_li.registry import ModelConfig
from balle_li.training.loop import train
from balle_li.training.task import Task

BALLE, ROI = (ModelConfig(name, {"N": 8}) for name in ("balle", "balle-li-roi"))

Weights = dict[str, torch.Tensor]


def task(store: Path, config: TrainConfig, **changes: Any) -> Task:
    arguments = {"lmbda": 0.01, "class_weights": {"Dog": 2.0}, "seed": 0, "model": BALLE} | changes
    return Task(store, config=config, **arguments)


def run(store: Path, config: TrainConfig, place: Path, log: RunLog | None = None, **changes: Any) -> Weights:
    """Train in `place`; the trained weights."""
    train(task(store, config, **changes), place / "model", place / "work", log or NoLog())
    return weights_of(place / "model")


def weights_of(folder: Path) -> Weights:
    """The weights of a model folder, without its tables."""
    tensors = load_file(folder / TENSORS_FILE)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(TABLES)}


def same(first: Weights, second: Weights) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Recorder(NoLog):
    """A run log that remembers."""

    def __init__(self):
        self.steps, self.pictures = {}, []

    def metrics(self, step, values):
        self.steps.setdefault(step, {}).update(values)

    def picture(self, name, step, image):
        self.pictures.append((name, step, image.shape, image.dtype))
