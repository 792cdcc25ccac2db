"""Kedro's session and commands, with what a user got wrong in one line instead of a traceback."""

import difflib
from pathlib import Path
from typing import IO, Any

import click
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.hooks import hook_impl
from kedro.framework.session import KedroSession

from balle_li.pipeline_registry import COMPARE, STAGES

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
                near = difflib.get_close_matches(name, STAGES, n=1)
                hint = f"did you mean {near[0]}? known are" if near else "known are"
                raise click.ClickException(f"there is no pipeline {name!r}: {hint} {', '.join((*STAGES, COMPARE))}")
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


def _in_one_line(error: Exception, project: Path) -> str:
    return " ".join(str(error).replace(f"{project}/", "").split()) or type(error).__name__


KedroCliError.show = show_in_one_line  # type: ignore[method-assign]
