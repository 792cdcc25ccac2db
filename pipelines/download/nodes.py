"""Pictures and labels, from wherever they come, into one folder with one index."""

from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def download(dataset: dict[str, Any], seed: int) -> Fill:
    from balle_li.config import DatasetConfig, read
    from balle_li.data.sources import download

    config = read(DatasetConfig, dataset, "dataset")

    def fill(folder: Path) -> None:
        download(config, seed, folder)

    return fill
