"""The failures a user can act on. Each message is one line: what is wrong, and what to do about it."""

import difflib
from collections.abc import Iterable
from importlib.util import find_spec


class BalleLiError(Exception):
    """Root of the package's own errors; command lines print its message alone and exit with 1."""


class ConfigError(BalleLiError):
    """A parameter is unknown, of the wrong type or out of range."""


class DatasetError(BalleLiError):
    """Pictures or labels are missing, unreadable or not what was asked for."""


class PictureError(DatasetError):
    """A picture is missing, damaged, of a kind that is not read, or cannot be written as was asked."""


class StageError(BalleLiError):
    """A stage's input is missing, unfinished or belongs to another version of the project."""


class TrainingError(BalleLiError):
    """Training cannot start or cannot continue."""


class BitstreamError(BalleLiError):
    """A compressed stream is damaged, truncated or was made by another model."""


class TrackingError(BalleLiError):
    """MLflow's database or registry does not hold what was asked for."""


class MissingExtraError(BalleLiError, ImportError):
    """A part of the package is used whose packages are not installed: they belong to one of its extras."""


def need(part: str, extra: str, *modules: str) -> None:
    """Raise MissingExtraError, which says what to install, unless the modules that `part` of the package needs can be found.

    None of them is imported.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{part} needs {', '.join(missing)}: pip install 'balle-li[{extra}]'")


def in_one_line(error: BaseException) -> str:
    """What an error says, its line breaks as spaces; its type's name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def near(name: object, known: Iterable[str]) -> str:
    """`did you mean 'steps'? ` of the known name that is nearest to a mistyped one; nothing where none is near."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {found[0]!r}? " if found else ""
