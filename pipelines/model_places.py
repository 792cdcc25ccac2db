"""Where the models lie that params.yaml names: the one that ships, a folder, a version in MLflow's registry."""

from collections.abc import Iterable
from pathlib import Path

from balle_li.config import RELEASED, is_registered


def located(place: str) -> Path:
    """The folder or file that `place` names: `released`, models:/balle-li/3, models:/balle-li@champion, or a path, of which
    a relative one starts at the checkout.

    Raises TrackingError: the registry has no such version. A path need not exist.
    """
    if place == RELEASED:
        from balle_li.files import RELEASED_MODEL

        return RELEASED_MODEL
    if is_registered(place):
        from balle_li.tracking.registry import model_path

        return model_path(place)
    from balle_li.files import project_home

    return project_home() / Path(place).expanduser()


def baselines(places: Iterable[str]) -> dict[str, Path]:
    """The model folders that `evaluate.baselines` names, by those names.

    Raises ConfigError: there is no model in one of them; TrackingError as `located`.
    """
    from balle_li.errors import ConfigError

    found = {place: located(place) for place in places}
    for place, folder in found.items():
        if not (folder / "model.json").is_file():
            raise ConfigError(
                f"params.yaml: evaluate.baselines: {place} is no model folder: it holds no model.json; correct it, or take it out"
            )
    return found
