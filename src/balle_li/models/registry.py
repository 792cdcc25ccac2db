"""Models by name: the package's own, and those that other packages offer at the entry point `balle_li.models`.

A model file says its name in its decorator. The files are read, not imported, to find names and hyperparameters, so that
every command can check params.yaml without loading torch.
"""

import ast
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from balle_li.configuration import converted, near, require
from balle_li.errors import ConfigError

if TYPE_CHECKING:
    from balle_li.models.base import CompressionModel

GROUP = "balle_li.models"
MAX_CHANNELS = 1024
_TYPES = {"int": int, "float": float, "bool": bool, "str": str}

_classes: dict[str, type] = {}
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class ModelConfig:
    """Section `model` of params.yaml: a registered name, and that model's hyperparameters by name.

    Raises ConfigError: the name is unknown, or a hyperparameter of one of the package's own models is unknown, missing or
    of the wrong type; of another package's model, `build` finds that out.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.name in _own_models():
            object.__setattr__(self, "arguments", _checked(self, _own_models()[self.name].hyperparameters))

    @classmethod
    def from_params(cls, section: Mapping[str, Any]) -> "ModelConfig":
        """The section as params.yaml has it."""
        require(isinstance(section, Mapping) and "name" in section, "params.yaml: model.name is missing")
        try:
            return cls.of(section)
        except ConfigError as error:
            raise ConfigError(f"params.yaml: {error}") from None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "ModelConfig":
        """What `facts()` gave."""
        return cls(facts["name"], {key: value for key, value in facts.items() if key != "name"})

    def facts(self) -> dict[str, Any]:
        """The section, as a mapping."""
        return {"name": self.name, **self.arguments}


@dataclass(frozen=True)
class _Hyperparameter:
    type: Any
    needed: bool


@dataclass(frozen=True)
class _OwnModel:
    module: str
    hyperparameters: Mapping[str, _Hyperparameter]


def register_model(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: `build` makes the class when it is asked for `name`."""

    def register(cls: _Class) -> _Class:
        _classes[name] = cls
        return cls

    return register


def names() -> list[str]:
    """The names that `build` knows."""
    return list(_own_models() | _offered())


def check_name(name: str) -> None:
    """Raise ConfigError, with the known names, unless `name` is one of them."""
    if name not in names():
        raise ConfigError(
            f"model name {name!r} is unknown: {near(name, names())}known are {', '.join(names())}. Models of other "
            f"packages are known once the package is installed (entry point {GROUP})"
        )


def build(config: ModelConfig) -> "CompressionModel":
    """The model that `config` names, with freshly drawn weights (from torch's global random generator).

    Raises ConfigError: another package's model cannot be imported, or a hyperparameter is unknown, missing or wrong.
    """
    cls = _class_of(config.name)
    arguments = config.arguments if config.name in _own_models() else _checked(config, _hyperparameters_of(cls))
    model: CompressionModel = cls(**arguments)
    model.name, model.arguments = config.name, dict(arguments)
    return model


def _class_of(name: str) -> type:
    if name in _own_models():
        importlib.import_module(_own_models()[name].module)
        return _classes[name]
    try:
        found = _offered()[name].load()
    except Exception as error:  # another package's code may fail in any way
        raise ConfigError(f"model {name!r} of another package cannot be imported: {error!r}") from error
    require(isinstance(found, type), f"the entry point of model {name!r} must name a class, not {found!r}")
    return found


def _checked(config: ModelConfig, hyperparameters: Mapping[str, _Hyperparameter]) -> dict[str, Any]:
    """The arguments, of the right types."""
    for name in config.arguments:
        if name not in hyperparameters:
            takes = ", ".join(hyperparameters) or "no hyperparameters"
            raise ConfigError(f"model.{name} is unknown: {near(name, hyperparameters)}{config.name} takes {takes}")
    for name, hyperparameter in hyperparameters.items():
        missing = hyperparameter.needed and name not in config.arguments
        require(not missing, f"model.{name} is missing; {config.name} needs it")
    try:
        arguments = {
            name: converted(hyperparameters[name].type, value, f"model.{name}")
            for name, value in config.arguments.items()
        }
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("params.yaml: ")) from None
    if "N" in arguments:
        N = arguments["N"]
        require(1 <= N <= MAX_CHANNELS, f"model.N is {N}, must be between 1 and {MAX_CHANNELS}")
    return arguments


def _hyperparameters_of(cls: type) -> dict[str, _Hyperparameter]:
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    return {
        name: _Hyperparameter(hints.get(name, Any), parameter.default is inspect.Parameter.empty)
        for name, parameter in inspect.signature(cls).parameters.items()
    }


@functools.cache
def _own_models() -> dict[str, _OwnModel]:
    """The models of this package by the names that their decorators give, from the text of their files."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            for decorator in statement.decorator_list if isinstance(statement, ast.ClassDef) else []:
                match decorator:
                    case ast.Call(func=ast.Name(id="register_model"), args=[ast.Constant(value=str(name))]):
                        found[name] = _OwnModel(f"{__package__}.{path.stem}", _written_hyperparameters(statement))
    return found


def _written_hyperparameters(definition: ast.stmt) -> dict[str, _Hyperparameter]:
    """Those of a class whose constructor stands in its own definition."""
    assert isinstance(definition, ast.ClassDef)
    (constructor,) = (part for part in definition.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")
    arguments = constructor.args.args[1:]
    optional = len(constructor.args.defaults)
    return {
        argument.arg: _Hyperparameter(
            _TYPES.get(ast.unparse(argument.annotation) if argument.annotation else "", Any),
            number < len(arguments) - optional,
        )
        for number, argument in enumerate(arguments)
    }


@functools.cache
def _offered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
