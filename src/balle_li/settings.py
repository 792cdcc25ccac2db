"""Kedro's settings, session and hooks: parameters from params.yaml, one line for what is wrong, one writer under torchrun."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import click
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.cli import project as project_commands
from kedro.framework.cli import utils
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import LOGGING
from kedro.framework.session import KedroSession
from kedro.io import AbstractDataset, CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner
from kedro.utils import load_obj
from omegaconf import OmegaConf

from balle_li.compute import rank, world_size
from balle_li.errors import BalleLiError, ConfigError, near
from balle_li.files import workspace
from balle_li.pipeline_registry import COMPARE, STAGES, register_pipelines

# Threads that sleep while they wait for each other leave the cores to other trainings; OpenMP's own spin. It reads this once,
# when torch is imported, which no command does before its settings.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Kedro itself finds it from the project's root only.
if "KEDRO_LOGGING_CONFIG" not in os.environ:
    LOGGING.configure(yaml.safe_load((Path(__file__).parents[2] / "conf" / "logging.yml").read_text(encoding="utf-8")))

# Both spellings, --pipeline and --pipelines, are meant to work here.
warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")


class ParamsYamlConfigLoader(OmegaConfigLoader):
    """Reads the parameters from params.yaml beside conf/, the file that DVC reads too.

    A symbolic link from conf/ to it would not do: in DVC's temporary workspaces Kedro takes it for a hidden file.
    Names that YAML reads as numbers, of classes and of sets of pictures, are text to every stage.
    """

    def __getitem__(self, key: str) -> Any:
        if key != "parameters" or key in self:
            return super().__getitem__(key)
        values = OmegaConf.load(Path(self.conf_source).parent / "params.yaml")
        merged = OmegaConf.merge(values, self.runtime_params or {})
        parameters = OmegaConf.to_container(merged, resolve=True)
        _name(parameters, "class_weights")
        _name(parameters, "evaluate", "extra_sets")
        return parameters


def _name(section: Any, *path: str) -> None:
    """Turn the keys of the mapping at `path` into text; what is no mapping stays, for the check of the parameters."""
    from balle_li.config import as_name

    *above, last = path
    for key in above:
        section = section.get(key) if isinstance(section, dict) else None
    if isinstance(section, dict) and isinstance(section.get(last), dict):
        section[last] = {as_name(name): value for name, value in section[last].items()}


def split_outside_brackets(ctx: click.Context, param: Any, value: str) -> list[str]:
    """The items of `--params a=1,b=[2,3]`. Kedro itself cuts at every comma, those of a list too."""
    return [item.strip() for item in re.split(r",(?![^][{}]*[]}])", value) if item.strip()]


class Announcement:
    """Says what each stage of a run does before it begins, and how long that takes where anyone can know it."""

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        of_the_sample = catalog.load("parameters")["dataset"]["source"] == "sample"
        for name in (node.name for node in pipeline.nodes if node.name in WHAT_STAGES_DO):
            what, duration = WHAT_STAGES_DO[name]
            click.echo(f"{what}{f' ({duration} on two cores)' if of_the_sample else ''}", err=True)


WHAT_STAGES_DO = {
    "download": ("download: brings pictures and boxes to data/01_raw", "a second"),
    "curate": ("curate: drops what is of no use, and splits the rest to train, validate and test", "10 s"),
    "cut_patches": ("patches: cuts the pictures for training", "5 s"),
    "train": ("train: makes a model; it is saved on the way, so Ctrl-C loses little", "2 to 3 min"),
    "evaluate": (
        "evaluate: codes the test pictures with the model and with JPEG and its like, through real files",
        "1 to 2 min",
    ),
    "register": ("register: a version in MLflow, which becomes the champion if it is better than the last", "10 s"),
    "report": ("report: draws the curves, the pictures and a page of all figures", "10 s"),
}
"""By the names of their nodes: what a stage does, and how long with the sample and the parameters as they come."""


RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")
_NOT_FOUND = "Module '{}' not found"


class OneLineSession(KedroSession):
    """A session whose failures before the first node (no such pipeline, tag, node or environment) are one line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._started = False
        self._hook_manager.register(self)

    @hook_impl
    def before_pipeline_run(self) -> None:
        self._started = True

    def run(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Run as Kedro does. Raises ClickException for what is wrong with the call."""
        for name in options.get("pipeline_names") or ():
            if name not in (*STAGES, COMPARE, "__default__"):
                raise click.ClickException(_unknown("pipeline", name, (*STAGES, COMPARE)))
        try:
            result: dict[str, Any] = super().run(*arguments, **options)
        except click.ClickException:
            raise
        except Exception as error:
            if self._started:
                raise
            raise click.ClickException(_in_one_line(error, self._project_path)) from error
        return result


def show_in_one_line(self: KedroCliError, file: IO[Any] | None = None) -> None:
    """Print an error of Kedro's commands; Kedro itself would print the exception at hand, often none: "NoneType: None"."""
    message = self.message
    for module, package in (("IPython", "ipython"), ("notebook", "notebook"), ("jupyterlab", "jupyterlab")):
        if message.startswith(_NOT_FOUND.format(module)):
            message = f"{module} is not part of the workflow's environment; for this command: pip install {package}"
    click.ClickException(message).show(file)


def load_runner(obj_path: str, default_obj_path: str = "") -> Any:
    """The class of `kedro run --runner`, as Kedro loads it. Raises ClickException: there is none of this name."""
    try:
        found = load_obj(obj_path, default_obj_path)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (isinstance(found, type) and issubclass(found, AbstractRunner)):
        raise click.ClickException(_unknown("runner", obj_path, RUNNERS))
    return found


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    return f"there is no {kind} {name!r}: {near(name, known)}known are {', '.join(known)}"


def _in_one_line(error: Exception, project: Path) -> str:
    return " ".join(str(error).replace(f"{project}/", "").split()) or type(error).__name__


class OneLineErrors:
    """Checks all parameters and says which stage is missing before a pipeline starts; shortens the project's own errors."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        from balle_li.config import Parameters, read

        try:
            read(Parameters, context.params, "")
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
    for stage, pipeline in register_pipelines().items():
        if stage != "__default__" and dataset in pipeline.all_outputs():
            return f"run `kedro run --pipeline {stage}` first (or `dvc repro`, which runs what is missing)"
    return "no stage makes it; check conf/base/catalog.yml"


def _relative(path: Any) -> str:
    try:
        return str(Path(str(path)).relative_to(workspace()))
    except ValueError:
        return str(path)


KedroCliError.show = show_in_one_line  # type: ignore[method-assign]
project_commands.load_obj = load_runner
utils.split_string = split_outside_brackets

CONFIG_LOADER_CLASS = ParamsYamlConfigLoader
SESSION_CLASS = OneLineSession
HOOKS = (OneLineErrors(), OneWriter(), Announcement())
