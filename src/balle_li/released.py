"""The weights that ship with the package: a `balle-li-roi` that works at once, and that training may start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle_li.files import read_json

MODEL_FOLDER = Path(__file__).with_name("released_model")
"""A model folder with a model card."""


def fits(model: Mapping[str, Any]) -> bool:
    """Whether the released weights are of the model of these `name` and hyperparameters."""
    return bool(read_json(MODEL_FOLDER / "model.json")["model"] == model)
