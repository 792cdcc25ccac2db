"""Which model a command or the Pillow plugin uses when it is not told, or is told by a registry's name."""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.errors import BalleLiError
from balle_li.files import project_home

if TYPE_CHECKING:
    from balle_li.codec.codec import Codec

VARIABLE = "BALLE_LI_MODEL"
TRAINED = Path("data", "04_models", "model")


def model_folder(name: str | None = None) -> Path:
    """The model folder for `name`: a folder, a registry address such as models:/balle-li@champion, or None for the default.

    The default is what the environment variable BALLE_LI_MODEL names, else the project's last trained model,
    `data/04_models/model`. Raises BalleLiError when there is none, TrackingError when the registry does not have it.
    """
    name = name or os.environ.get(VARIABLE)
    if name is None:
        trained = project_home() / TRAINED
        if not (trained / "model.json").is_file():
            raise BalleLiError(
                f"no model: name a model folder with --model or {VARIABLE}, or train one with `dvc repro`"
            )
        return trained
    if name.startswith("models:/"):
        from balle_li.tracking.registry import model_path

        return model_path(name)
    return Path(name)


@functools.lru_cache(maxsize=4)
def default_codec(name: str | None = None, device: str = "auto") -> "Codec":
    """The codec of `model_folder(name)`, loaded once. Raises BalleLiError as loading does."""
    from balle_li.codec.codec import Codec

    return Codec.load(model_folder(name), device)
