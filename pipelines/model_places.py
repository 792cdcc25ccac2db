"""Where the models lie that params.yaml names: the one that ships, a folder, a version in MLflow's registry."""

from pathlib import Path

from balle_li.config import RELEASED, is_registered
from balle_li.files import named_path, released_model


def located(place: str, tune: str) -> Path:
    """The folder or file that `place` names: `released`, the one of that `tune`; models:/balle-li/3, models:/balle-li@champion;
    or a path, of which a relative one starts at the checkout.

    Raises TrackingError: the registry has no such version. A path need not exist.
    """
    if place == RELEASED:
        return released_model(tune)
    if is_registered(place):
        from balle_li.tracking.registry import model_path

        return model_path(place)
    return named_path(place)
