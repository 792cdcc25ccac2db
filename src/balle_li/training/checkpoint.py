"""Training weights in a file: what `init_from` starts from, and the best so far of a training."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from balle_li.errors import TrainingError
from balle_li.files import write_bytes
from balle_li.models.base import CompressionModel

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_weights(model: CompressionModel, path: Path, facts: dict[str, str]) -> None:
    """Write the model's parameters, with its name, N and `facts` as the file's metadata; atomically."""
    state = model.state_dict()
    weights = {name: state[name].cpu().contiguous() for name, _ in model.named_parameters()}
    write_bytes(path, save(weights, {"name": model.name, "N": str(model.N), **facts}))


def weights_file(place: str | Path) -> Path:
    """The file of training weights at `place`: a model folder's, or the file itself.

    Raises TrainingError when it does not exist.
    """
    path = Path(place)
    if path.is_dir():
        path = path / CHECKPOINT_FILE
    if not path.is_file():
        raise TrainingError(f"{path} does not exist: train.init_from names a model folder or its {CHECKPOINT_FILE}")
    return path


def load_weights(model: CompressionModel, path: Path) -> dict[str, str]:
    """Read what `save_weights` wrote into a model of the same name and N; returns the file's facts.

    Raises TrainingError: the file is missing or damaged, or holds another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist: it holds the training weights of a model folder") from None
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path} cannot be read ({error}); name another model folder") from None
    if "name" not in facts:
        raise TrainingError(f"{path} holds no training weights; name a model folder or its {CHECKPOINT_FILE}")
    if (facts.get("name"), facts.get("N")) != (model.name, str(model.N)):
        found = f"{facts.get('name')} with N = {facts.get('N')}"
        raise TrainingError(
            f"{path} holds {found}, not {model.name} with N = {model.N}; set model.name and model.N to match"
        )
    if {name: weight.shape for name, weight in weights.items()} != {
        name: weight.shape for name, weight in model.named_parameters()
    }:
        raise TrainingError(f"{path} was written by another version of {model.name}; train it again")
    model.load_state_dict(weights, strict=False)
    return facts
