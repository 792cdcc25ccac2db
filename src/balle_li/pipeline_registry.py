"""The pipelines that `kedro run` knows: one per stage, and all six in a row by default."""

import sys
from importlib import import_module
from pathlib import Path

from kedro.pipeline import Pipeline

# The folder pipelines/ beside this src/, not an installed copy: DVC's temporary workspaces bring their own.
ROOT = str(Path(__file__).resolve().parents[2])
sys.path[:0] = [] if ROOT in sys.path else [ROOT]

STAGES = ("download", "curate", "patches", "train", "evaluate", "register")


def register_pipelines() -> dict[str, Pipeline]:
    """Every stage by name, and `__default__`, which runs them all."""
    stages: dict[str, Pipeline] = {
        name: import_module(f"pipelines.{name}.pipeline").create_pipeline() for name in STAGES
    }
    return {"__default__": sum(stages.values(), Pipeline([])), **stages}
