"""Where a training starts: what `train.init_from` of params.yaml may name."""

import logging
from collections.abc import Mapping
from typing import Any

from balle_li.config import RELEASED, ZOO, is_registered
from balle_li.registry import same_model
from pipelines.model_places import located

logger = logging.getLogger(__name__)


def locate(init_from: str | None, model: Mapping[str, Any], tune: str) -> str | None:
    """A model folder or a file of training weights on this machine, for what `init_from` names; None for none.

    `zoo` stays as it is: the weights that the model's authors published, which the model itself fetches.

    `released` are the weights of that `tune` that ship with the package, if they are of this `model`, its name and
    hyperparameters; else a training starts from scratch. What else it may be, `located` says.

    Raises TrackingError: the registry has no such version. Raises TrainingError: nothing is there.
    """
    if init_from in (None, ZOO):
        return init_from
    path = located(init_from, tune)
    if init_from == RELEASED:
        from balle_li.files import read_json

        if same_model(read_json(path / "model.json")["model"], model):
            return str(path)
        logger.info("no released weights are of %s: training starts from scratch", dict(model))
        return None
    if not is_registered(init_from) and not path.exists():
        from balle_li.errors import TrainingError

        raise TrainingError(
            f"train.init_from: {path} does not exist (DVC empties data/04_models before it trains); name a copy of a "
            "model folder, or a registered model such as models:/balle-li@champion"
        )
    return str(path)
