"""Kedro's failures as one line that says what is wrong and what to do, and an exit code that is not 0."""

from pathlib import Path
from typing import Any

import click
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline

from balle_li.errors import BalleLiError


class OneLineErrors:
    """Says which stage is missing before a pipeline starts, and shortens the project's own errors."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        for name in sorted(pipeline.inputs()):
            if name == "parameters" or name.startswith("params:") or catalog.exists(name):
                continue
            path = getattr(catalog.get(name), "_filepath", name)
            raise click.ClickException(f"{_relative(path)} is not there yet: {_how_to_make(name)}")

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        cause: BaseException | None = error
        while isinstance(cause, DatasetError) and cause.__cause__ is not None:
            cause = cause.__cause__  # a stage does its work while its folder is saved; Kedro wraps what that raises
        if isinstance(cause, BalleLiError):
            raise click.ClickException(str(cause)) from error


def _how_to_make(dataset: str) -> str:
    from balle_li.pipeline_registry import register_pipelines

    for stage, pipeline in register_pipelines().items():
        if stage != "__default__" and dataset in pipeline.all_outputs():
            return f"run `kedro run --pipeline {stage}` first (or `dvc repro`, which runs what is missing)"
    return "no stage makes it; check conf/base/catalog.yml"


def _relative(path: Any) -> str:
    try:
        return str(Path(str(path)).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
