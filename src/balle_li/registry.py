"""Things by name: models, metrics, classical codecs and data sources, the package's own and those of other packages.

A file says its thing's name in its decorator. The files are read, not imported, to find names and parameters, so that
every command can check params.yaml without loading what it does not use.
"""

import ast
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from balle_li.errors import ConfigError, near

MAX_CHANNELS = 1024
_BOUNDS = {"N": (1, MAX_CHANNELS), "levels": (1, 8)}
"""The least and the greatest value of hyperparameters that several models have."""
DECIBELS = "_db"
"""Ends the name of a similarity's column in decibels, over which its curves are drawn."""

_Thing = TypeVar("_Thing", bound=Callable[..., Any])
_SCALARS: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


@dataclass(frozen=True)
class Parameter:
    """A parameter that a thing takes from params.yaml. type: one of int, float, bool and str; None where any value will do.
    default: where it is not required."""

    type: type | None
    required: bool
    default: Any = None


class Registry:
    """The things of one kind, by name.

    kind: what one of them is called in messages, "metric". room: the package whose files hold them. decorator: the name
    of the function that registers them, `register_metric`; it is called with the name as its first argument. Another
    package offers a thing at the entry point `group`: there its name stands for the class or function itself.
    """

    def __init__(self, kind: str, room: str, decorator: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._room, self._decorator = room, decorator
        self._things: dict[str, Any] = {}

    def add(self, name: str, thing: _Thing) -> _Thing:
        """Make `get(name)` give `thing`, and return it; what the decorator calls."""
        self._things[name] = thing
        return thing

    def names(self) -> list[str]:
        """All names: the package's own in the order of their files, then those of other packages."""
        return list(self.own | _offered(self.group))

    def check(self, name: str) -> None:
        """Raise ConfigError, with the known names, unless `name` is one of them."""
        if name not in self.names():
            raise ConfigError(
                f"{self.kind} {name!r} is unknown: {near(name, self.names())}known are {', '.join(self.names())}. Those of "
                f"other packages are known once the package is installed (entry point {self.group})"
            )

    def is_own(self, name: str) -> bool:
        """Whether `name` is one of the package's own."""
        return name in self.own

    def get(self, name: str) -> Any:
        """The class or function that `name` stands for.

        Raises ConfigError: the name is unknown, or another package's thing cannot be imported or called.
        """
        self.check(name)
        if self.is_own(name):
            importlib.import_module(self.own[name].module)
            return self._things[name]
        try:
            thing = _offered(self.group)[name].load()
        except Exception as error:  # another package's code may fail in any way
            raise ConfigError(f"{self.kind} {name!r} of another package cannot be imported: {error!r}") from error
        if not callable(thing):
            raise ConfigError(f"the entry point of {self.kind} {name!r} must name a class or function, not {thing!r}")
        return thing

    def parameters(self, name: str) -> dict[str, Parameter]:
        """What a thing takes; one of the package's own is read, not imported. Raises ConfigError as `get` does."""
        return self.own[name].parameters if self.is_own(name) else _parameters(self.get(name))

    def arguments(self, name: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """`values` as keyword arguments of the thing, of the right types; `where` is their section in params.yaml.

        Raises ConfigError: a value is unknown, missing or of a wrong type.
        """
        known = self.parameters(name)
        for key in values:
            if key not in known:
                takes = f"takes {', '.join(known)}" if known else "takes no parameters"
                raise ConfigError(f"{where}.{key} is unknown: {near(key, known)}{name} {takes}")
        for key, parameter in known.items():
            if parameter.required and key not in values:
                raise ConfigError(f"{where}.{key} is missing; {name} needs it")
        return {key: _converted(known[key].type, value, f"{where}.{key}") for key, value in values.items()}

    @functools.cached_property
    def own(self) -> dict[str, "Own"]:
        """The things of this package by the names that their decorators give, from the text of the room's files."""
        spec = find_spec(self._room)
        assert spec is not None and spec.submodule_search_locations is not None
        found = {}
        for path in sorted(Path(spec.submodule_search_locations[0]).glob("*.py")):
            text = path.read_text(encoding="utf-8")
            if f"@{self._decorator}(" not in text:
                continue  # to look is some hundred times as fast as to parse
            for statement in ast.parse(text).body:
                if isinstance(statement, ast.ClassDef | ast.FunctionDef):
                    for name in map(self._name, statement.decorator_list):
                        if name is not None:
                            found[name] = Own(f"{self._room}.{path.stem}", statement)
        return found

    def _name(self, decorator: ast.expr) -> str | None:
        match decorator:
            case ast.Call(func=ast.Name(id=called), args=[ast.Constant(value=str(name)), *_]) if (
                called == self._decorator
            ):
                return name
        return None


@dataclass(frozen=True)
class Own:
    """A thing of this package: the module that holds it, and its definition as it is written."""

    module: str
    definition: ast.ClassDef | ast.FunctionDef

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Those of the function, or of the constructor that stands in the class's own definition."""
        written, first = self.definition, 0
        if isinstance(written, ast.ClassDef):
            (written,) = (
                part for part in written.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"
            )
            first = 1
        arguments = written.args.args[first:]
        defaults = written.args.defaults
        required = len(arguments) - len(defaults)
        return {
            argument.arg: Parameter(
                _SCALARS.get(ast.unparse(argument.annotation) if argument.annotation else ""),
                number < required,
                None if number < required else ast.literal_eval(defaults[number - required]),
            )
            for number, argument in enumerate(arguments)
        }


def _parameters(thing: Callable[..., Any]) -> dict[str, Parameter]:
    """What an imported class or function takes."""
    hints = get_type_hints(thing.__init__ if isinstance(thing, type) else thing)  # type: ignore[misc]
    return {
        name: Parameter(
            hints[name] if hints.get(name) in _SCALARS.values() else None,
            parameter.default is inspect.Parameter.empty,
            parameter.default,
        )
        for name, parameter in inspect.signature(thing).parameters.items()
    }


def _converted(wanted: type | None, value: Any, where: str) -> Any:
    """`value` as `wanted`. Raises ConfigError."""
    if wanted is None:
        return value
    if wanted is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as a string
        except ValueError:
            pass
    if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where} must be of type {wanted.__name__}, not {value!r}")


@functools.cache
def _offered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


MODELS = Registry("model", "balle_li.models", "register_model", "balle_li.models")
METRICS = Registry("metric", "balle_li.evaluation", "register_metric", "balle_li.metrics")
CODECS = Registry("classical codec", "balle_li.evaluation", "register_codec", "balle_li.codecs")
SOURCES = Registry("data source", "balle_li.data.sources", "register_source", "balle_li.sources")


def metric_named(name: str) -> str:
    """The registered metric that is named, itself or by the column of its curve: `ms_ssim` of `ms_ssim` and of `ms_ssim_db`.

    Raises ConfigError: there is none.
    """
    base, known = name.removesuffix(DECIBELS), METRICS.names()
    found = base if name not in known and base in known else name
    METRICS.check(found)
    return found


def same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sections `model` mean the same network: what one of them leaves out is at its default.

    Raises ConfigError: `one` names an unknown model.
    """
    taken = MODELS.parameters(one["name"])
    defaults = {key: parameter.default for key, parameter in taken.items() if not parameter.required}
    return defaults | dict(one) == defaults | dict(other)


@dataclass(frozen=True)
class ModelConfig:
    """Section `model` of params.yaml: a registered name, and that model's hyperparameters by name.

    Raises ConfigError: the name is unknown, or a hyperparameter of one of the package's own models is unknown, missing or
    of the wrong type; of another package's model, `models.base.build` finds that out.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        MODELS.check(self.name)
        if MODELS.is_own(self.name):
            object.__setattr__(self, "arguments", self.checked())

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "ModelConfig":
        """What `facts()` gave. Raises ConfigError as the constructor does, or where there is no name."""
        if not isinstance(facts, Mapping) or "name" not in facts:
            raise ConfigError("model.name is missing")
        return cls(facts["name"], {key: value for key, value in facts.items() if key != "name"})

    def facts(self) -> dict[str, Any]:
        """The section, as a mapping."""
        return {"name": self.name, **self.arguments}

    def checked(self) -> dict[str, Any]:
        """The hyperparameters, of the right types. Raises ConfigError."""
        arguments = MODELS.arguments(self.name, self.arguments, "model")
        for name, (least, greatest) in _BOUNDS.items():
            if not least <= arguments.get(name, least) <= greatest:
                raise ConfigError(f"model.{name} is {arguments[name]}, must be between {least} and {greatest}")
        return arguments
