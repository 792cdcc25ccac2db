"""Models by name. Looking a name up costs nothing: a model's module, torch and CompressAI are imported when it is built."""

import difflib
import importlib
from typing import TYPE_CHECKING

from balle_li.errors import ConfigError

if TYPE_CHECKING:
    from balle_li.models.base import CompressionModel
    from balle_li.models.config import ModelConfig

_CLASSES = {
    "balle": "balle_li.models.balle:Balle",
    "balle-encoder": "balle_li.models.balle_encoder:BalleEncoder",
    "balle-encoder-5": "balle_li.models.balle_encoder:BalleEncoder5",
    "balle-li": "balle_li.models.balle_li:BalleLi",
    "balle-li-roi": "balle_li.models.balle_li_roi:BalleLiRoi",
}


def names() -> list[str]:
    """The names that `build` knows."""
    return list(_CLASSES)


def check_name(name: str) -> None:
    """Raise ConfigError, with the known names, unless `name` is one of them."""
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"model name {name!r} is unknown: {hint}known are {', '.join(_CLASSES)}")


def build(config: "ModelConfig") -> "CompressionModel":
    """The model `config` names, with freshly drawn weights (from torch's global random generator)."""
    check_name(config.name)
    module, cls = _CLASSES[config.name].split(":")
    model: CompressionModel = getattr(importlib.import_module(module), cls)(config.N)
    model.name = config.name
    return model
