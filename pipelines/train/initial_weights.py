"""Where a training starts: what `train.init_from` of params.yaml may name."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle_li.config import ZOO

RELEASED = "released"

logger = logging.getLogger(__name__)


def locate(init_from: str | None, model: Mapping[str, Any]) -> str | None:
    """A model folder or a file of training weights on this machine, for what `init_from` names; None for none.

    `zoo` stays as it is: the weights that the model's authors published, which the model itself fetches.

    `released` are the weights that ship with the package, if they are of this `model`, its name and hyperparameters; else
    a training starts from scratch. It may also be such a folder or file (a relative path starts at the checkout), or a version in
    the registry: models:/balle-li/3, models:/balle-li@champion.

    Raises TrackingError: the registry has no such version. Raises TrainingError: nothing is there.
    """
    if init_from in (None, ZOO):
        return init_from
    if init_from == RELEASED:
        from balle_li.files import RELEASED_MODEL, read_json

        if read_json(RELEASED_MODEL / "model.json")["model"] == model:
            return str(RELEASED_MODEL)
        logger.info("no released weights are of %s: training starts from scratch", dict(model))
        return None
    if init_from.startswith("models:/"):
        from balle_li.tracking.registry import model_path

        return str(model_path(init_from))
    from balle_li.errors import TrainingError
    from balle_li.files import project_home

    path = project_home() / Path(init_from).expanduser()
    if not path.exists():
        raise TrainingError(
            f"train.init_from: {path} does not exist (DVC empties data/04_models before it trains); name a copy of a "
            "model folder, or a registered model such as models:/balle-li@champion"
        )
    return str(path)
