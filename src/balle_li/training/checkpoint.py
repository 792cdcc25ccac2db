"""Training weights in a file: what `init_from` starts from, and the best so far of a training."""

import json
from pathlib import Path

from balle_li.codec.model_folder import TENSORS_FILE, load_state, read_tensors, write_tensors
from balle_li.errors import BalleLiError, TrainingError
from balle_li.models.base import CompressionModel


def save_weights(model: CompressionModel, path: Path, facts: dict[str, str]) -> None:
    """Write the model's weights, with its name, hyperparameters and `facts` as the file's metadata; atomically."""
    write_tensors(path, model, model.state_dict(), facts)


def weights_file(place: str | Path) -> Path:
    """The file of training weights at `place`: a model folder's, or the file itself.

    Raises TrainingError when it does not exist.
    """
    path = Path(place)
    if path.is_dir():
        path = path / TENSORS_FILE
    if not path.is_file():
        raise TrainingError(f"{path} does not exist: train.init_from names a model folder or its {TENSORS_FILE}")
    return path


def load_weights(model: CompressionModel, path: Path) -> dict[str, str]:
    """Read the weights of a model folder, or what `save_weights` wrote, into a model of the same name and hyperparameters.

    Returns the file's facts. Raises TrainingError: the file is missing or damaged, or holds another model.
    """
    try:
        tensors, facts = read_tensors(path)
    except BalleLiError as error:
        raise TrainingError(f"train.init_from: {error}") from None
    if "model" not in facts:
        raise TrainingError(f"{path} holds no training weights; name a model folder or its {TENSORS_FILE}")
    found, own = json.loads(facts["model"]), {"name": model.name, **model.arguments}
    if found != own:
        raise TrainingError(f"{path} holds {_said(found)}, not {_said(own)}; set the section model to match")
    try:
        load_state(model, tensors)
    except BalleLiError as error:
        raise TrainingError(f"{path}: {error}") from None
    return facts


def _said(model: dict[str, object]) -> str:
    arguments = ", ".join(f"{key} = {value}" for key, value in model.items() if key != "name")
    return f"{model['name']}{f' with {arguments}' if arguments else ''}"
