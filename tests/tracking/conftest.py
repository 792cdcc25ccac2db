"""A place for MLflow's database, and everything that registering a tiny codec takes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import tiny_model_folder

METRICS = {
    "bpp": 0.5, "psnr": 30.0, "ms_ssim": 0.96, "compression_ratio": 20.0, "encode_ms": 10.0, "decode_ms": 12.0,
}  # fmt: skip


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return tiny_model_folder(tmp_path / "model")


@pytest.fixture
def register(home: Path, model_folder: Path) -> Callable[..., dict[str, Any]]:
    """Register the tiny codec as `codec`, with the metrics that an evaluation would give it."""
    from balle_li.comparison.curves import bd_rate
    from balle_li.config import RegisterConfig
    from balle_li.tracking import registry, run

    config = RegisterConfig(
        "codec", "ms_ssim_db", max_encode_ms=100, max_decode_ms=100, max_megabytes=10, min_gain=0.01
    )

    def register(rd_cost: float, curve: list[dict[str, float]] | None = None, **measured: float) -> dict[str, Any]:
        evaluation = home / "evaluation"
        evaluation.mkdir(exist_ok=True)
        metrics = {"model": {**METRICS, "rd_cost": rd_cost, **measured}, "test_set": "abc", "counts": {"pictures": 50}}
        (evaluation / "metrics.json").write_text(json.dumps(metrics))
        (evaluation / "rd_curve.json").write_text(json.dumps(curve or [{"bpp": 0.5, "psnr": 30.0, "ms_ssim_db": 14.0}]))
        with run.attached(run.open_run({}, {}), {}, {}):
            return registry.register(config, model_folder, evaluation, "# codec {}\n\nA card.\n".format, bd_rate)

    return register
