"""From a plain mapping (a section of params.yaml) to a typed dataclass, with messages a person can act on."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from balle_li.errors import ConfigError

Config = TypeVar("Config")


def from_mapping(cls: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Build the dataclass `cls` from `values`, nested dataclasses included.

    `where` is the section's name in params.yaml, for messages ("train"; "" is the whole file). A field may be left out
    only if the dataclass gives it a default. Ranges are the dataclass's own business, in `__post_init__`.

    Raises ConfigError: a key is unknown or missing, or a value has the wrong type or range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"params.yaml: {where or 'it'} must be a mapping, not {values!r}")
    start = f"{where}." if where else ""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            hint = near(key, fields).rstrip() or f"known are {', '.join(fields)}"
            raise ConfigError(f"params.yaml: {start}{key} is unknown: {hint}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = converted(hints[name], values[name], f"{start}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"params.yaml: {start}{name} is missing")
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"params.yaml: {where}{': ' if where else ''}{error}") from None


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with `message` unless `condition` holds; for `__post_init__` checks."""
    if not condition:
        raise ConfigError(message)


def near(name: object, known: Iterable[str]) -> str:
    """`did you mean 'steps'? ` of the known name that is nearest to a mistyped one; nothing where none is near."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {found[0]!r}? " if found else ""


def converted(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`. Raises ConfigError, which names `where` in params.yaml."""
    if hasattr(hint, "from_params"):  # a section with a way of its own to be read
        return hint.from_params(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"params.yaml: {where} is {value!r}, must be one of {', '.join(map(str, arguments))}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"params.yaml: {where} must be a list, not {value!r}")
        return origin(converted(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"params.yaml: {where} must be a mapping, not {value!r}")
        return {str(key): converted(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    failure = None
    for option in options:
        if option is type(None):
            continue
        try:
            return converted(option, value, where)
        except ConfigError as error:
            failure = error
    assert failure is not None
    raise failure


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    raise ConfigError(f"params.yaml: {where} must be of type {hint.__name__}, not {value!r}")
