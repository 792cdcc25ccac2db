"""From what was downloaded, the pictures and boxes worth training on and measuring with."""

from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def curate(raw: Path, curate: dict[str, Any], seed: int) -> Fill:
    from balle_li.config import CurationConfig, read
    from balle_li.data import curation

    config = read(CurationConfig, curate, "curate")

    def fill(folder: Path) -> None:
        curation.curate(raw, config, seed, folder)

    return fill
