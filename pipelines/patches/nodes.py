"""Square patches with their boxes, in shards that training maps into memory."""

from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def cut_patches(
    raw: Path,
    curated: Path,
    patches: dict[str, Any],
    compute: dict[str, Any],
    class_weights: dict[str, float],
    seed: int,
) -> Fill:
    from balle_li.config import ComputeConfig, PatchConfig, read
    from balle_li.data.patches import cut_patches

    patch_config = read(PatchConfig, patches, "patches")
    compute_config = read(ComputeConfig, compute, "compute")

    def fill(folder: Path) -> None:
        cut_patches(raw, curated, patch_config, compute_config, class_weights, seed, folder)

    return fill
