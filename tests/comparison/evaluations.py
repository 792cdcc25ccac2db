"""Evaluations of tiny models, as the evaluate stage leaves them, for what compares them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from evaluation.stages import make_stages
from tiny_model import tiny_model_folder

from balle_li.comparison.runs import EvaluatedRun, read_run
from balle_li.comparison.summary import write_summary
from balle_li.config import ComputeConfig, EvaluationConfig
from balle_li.evaluation.evaluate import evaluate
from balle_li.progress import NoLog

# Name, model and seed of its random weights, and parameters: two points of one curve, one point, and a curve by itself.
RUNS = {
    "a": ("balle", 0, {"lmbda": "0.01", "model.N": "4"}),
    "b": ("balle", 1, {"lmbda": "0.02", "model.N": "4"}),
    "c": ("balle", 2, {"lmbda": "0.01", "model.N": "8"}),
    "d": ("balle-li-roi", 0, {"lmbda": "0.01", "model.N": "4"}),
}
BASELINE = "a baseline"
TITLE = f"{BASELINE}, baseline, MSE"


def evaluated(folder: Path, names: Iterable[str] = RUNS) -> Path:
    """One folder below `folder` for each of these runs, beside a baseline; returns `folder`."""
    stages = make_stages(folder / "stages")
    config = EvaluationConfig(
        metrics=["psnr", "ms_ssim"], qualities=[0, 100], jpeg_qualities=[50], codecs=["webp"],
        baselines=[BASELINE], extra_sets={"more": str(stages / "raw")}, device="cpu", pictures_on_page=1,
    )  # fmt: skip
    baselines = {BASELINE: tiny_model_folder(folder / "baseline", "balle-li-roi", 4, seed=5)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        for name in names:
            model, seed, _ = RUNS[name]
            tiny_model_folder(stages / "model", model, 4, seed)
            inputs = stages / "raw", stages / "curated", stages / "model"
            evaluate(*inputs, baselines, config, {}, ComputeConfig(None, 1), folder / name)
            write_summary(folder / name, NoLog())
    return folder


def read(folder: Path, name: str, parameters: Mapping[str, str] | None = None) -> EvaluatedRun:
    """The run `name` with these parameters, by default its own."""
    chosen = RUNS[name][2] if parameters is None else parameters
    return read_run(f"{name * 8}", f"run-{name}", "2026-01-01", f"file:///mlruns/{name}", chosen, folder / name)
