"""The pipelines that `kedro run` knows: one per stage, all seven in a row by default, and the comparison of runs."""

import sys
from importlib import import_module
from pathlib import Path

from kedro.pipeline import Pipeline

# The folder pipelines/ beside this src/, not an installed copy: DVC's temporary workspaces bring their own.
ROOT = str(Path(__file__).resolve().parents[2])
sys.path[:0] = [] if ROOT in sys.path else [ROOT]

STAGES = ("download", "curate", "patches", "train", "evaluate", "register", "report")
COMPARE = "compare"
"""Reads MLflow's database, which DVC does not version: a pipeline to call, but no stage."""


def register_pipelines() -> dict[str, Pipeline]:
    """Every stage by name, `compare`, and `__default__`, which runs all the stages."""
    stages = {name: _create(name) for name in STAGES}
    return {"__default__": sum(stages.values(), Pipeline([])), **stages, COMPARE: _create(COMPARE)}


def _create(name: str) -> Pipeline:
    created: Pipeline = import_module(f"pipelines.{name}.pipeline").create_pipeline()
    return created
