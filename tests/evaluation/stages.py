"""What the stages before evaluate leave, at a small size, and what evaluate makes of it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.boxes import Box
from balle_li.config import ComputeConfig, EvaluationConfig
from balle_li.data.manifest import write_manifest
from balle_li.evaluation.evaluate import evaluate
from balle_li.files import sha256_file

SIZES = {"large": (180, 200), "portrait": (170, 70), "small": (50, 66)}
"""Height and width of the files of the test split."""
CONFIG = EvaluationConfig(
    metrics=["psnr", "ms_ssim"], qualities=[0, 100], jpeg_qualities=[4, 50, 90], codecs=[], baselines=[],
    extra_sets={}, device="cpu", pictures_on_page=2,
)  # fmt: skip
ALONE = ComputeConfig(scheduler=None, workers=1)
"""One process, this one."""


def make_stages(folder: Path, sizes: Mapping[str, tuple[int, int]] = SIZES) -> Path:
    """raw, curated and model folders: three test pictures, one of them to be turned, and one of the train split."""
    (folder / "raw").mkdir(parents=True)
    rows = []
    for index, (name, (height, width)) in enumerate({**sizes, "train": (64, 64)}.items()):
        pixels = np.random.default_rng(index).integers(0, 255, (height // 10, width // 10, 3), np.uint8)
        path = folder / "raw" / f"{name}.png"
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
        boxes = [Box(0.2, 0.2, 0.7, 0.9, "Cat"), Box(0, 0, 0.1, 0.05, "Dog")] if name == "large" else []
        turned = name == "portrait"
        rows.append({
            "image_id": name, "path": path.name, "rotation": 90.0 if turned else 0.0, "boxes": boxes,
            "width": height if turned else width, "height": width if turned else height,
            "split": "train" if name == "train" else "test", "sha256": sha256_file(path),
        })  # fmt: skip
    write_manifest(folder / "curated" / "manifest.parquet", rows)
    tiny_model_folder(folder / "model", name="balle-li", N=4)
    return folder


def evaluated(
    stages: Path, compute: ComputeConfig = ALONE, baselines: Mapping[str, Path] | None = None, **changes: object
) -> Path:
    """The folder that evaluate leaves beside `stages`. changes: of CONFIG."""
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    inputs = stages / "raw", stages / "curated", stages / "model"
    evaluate(*inputs, baselines or {}, config, {}, compute, stages / "report")
    return stages / "report"


def table_of(report: Path) -> pd.DataFrame:
    """The measurements in a folder of evaluate, or of one of its sets."""
    return pd.read_parquet(report / "measurements.parquet")


def facts_of(report: Path) -> dict[str, Any]:
    """What evaluation.json says beside them."""
    facts: dict[str, Any] = json.loads((report / "evaluation.json").read_text())
    return facts
