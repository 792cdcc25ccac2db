"""The weights that ship with the package: a `balle-li-roi` that works at once, and that training may start from."""

from pathlib import Path

from balle_li.files import read_json

MODEL_FOLDER = Path(__file__).with_name("released_model")
"""A model folder with training weights (checkpoint.safetensors) and a model card."""


def fits(name: str, N: int) -> bool:
    """Whether the released weights are of the model `name` with `N` channels."""
    description = read_json(MODEL_FOLDER / "model.json")
    return (description["name"], description["N"]) == (name, N)
