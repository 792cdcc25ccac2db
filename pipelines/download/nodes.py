"""Pictures and labels, from wherever they come, into one folder with one index."""

from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def download(dataset: dict[str, Any], seed: int) -> Fill:
    from balle_li.configuration import from_mapping
    from balle_li.datasets.sources import DatasetConfig, download

    config = from_mapping(DatasetConfig, dataset, "dataset")

    def fill(folder: Path) -> None:
        download(config, seed, folder)

    return fill
