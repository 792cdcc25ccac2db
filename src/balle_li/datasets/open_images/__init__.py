"""Open Images V7: a chosen, verified and labelled subset of its 1.9 million pictures with boxes."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balle_li.datasets.sources import OpenImagesConfig


def download(config: "OpenImagesConfig", max_missing: float, seed: int, folder: Path) -> None:
    """Bring the pictures that `config` and `seed` choose to `folder`; see `open_images.subset.download`."""
    from balle_li.datasets.open_images import subset

    subset.download(config, max_missing, seed, folder)
