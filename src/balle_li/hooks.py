"""What Kedro does around every pipeline: failures in one line with an exit code that is not 0, and one writer under torchrun."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline

from balle_li.distributed import rank, world_size
from balle_li.errors import BalleLiError, ConfigError
from balle_li.files import workspace
from balle_li.parameters import check


class OneLineErrors:
    """Checks all parameters and says which stage is missing before a pipeline starts; shortens the project's own errors."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        try:
            check(context.params)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error

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


class OneWriter:
    """Lets every process that torchrun starts run the train pipeline, and the first one alone write what comes out."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        if world_size() == 1:
            return
        outputs = pipeline.all_outputs()
        if not outputs <= {"mlflow_run", "model"}:
            raise click.ClickException("torchrun is for training alone: torchrun … -m kedro run --pipeline train")
        for name in outputs if rank() != 0 else ():
            catalog[name] = _Unwritten()


class _Unwritten(AbstractDataset[Any, Any]):
    """An output of a process that is not to write it: kept in memory, a folder filled and thrown away."""

    def save(self, data: Any) -> None:
        if callable(data):
            with TemporaryDirectory() as folder:
                data(Path(folder))
            data = Path(folder)
        self._data = data

    def load(self) -> Any:
        return self._data

    def _describe(self) -> dict[str, Any]:
        return {}


def _how_to_make(dataset: str) -> str:
    from balle_li.pipeline_registry import register_pipelines

    for stage, pipeline in register_pipelines().items():
        if stage != "__default__" and dataset in pipeline.all_outputs():
            return f"run `kedro run --pipeline {stage}` first (or `dvc repro`, which runs what is missing)"
    return "no stage makes it; check conf/base/catalog.yml"


def _relative(path: Any) -> str:
    try:
        return str(Path(str(path)).relative_to(workspace()))
    except ValueError:
        return str(path)
