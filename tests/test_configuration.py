from dataclasses import dataclass
from typing import Literal

import pytest

from balle_li.configuration import from_mapping, require
from balle_li.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float


@dataclass(frozen=True)
class Outer:
    steps: int
    mode: Literal["fast", "slow"]
    inner: Inner
    names: list[str]
    shares: dict[str, float]
    limit: int | None

    def __post_init__(self) -> None:
        require(self.steps > 0, f"steps is {self.steps}, must be positive")


GOOD = {"steps": 3, "mode": "fast", "inner": {"rate": "1e-4"}, "names": ["a"], "shares": {"x": 1}, "limit": None}


def test_builds_nested_dataclasses_and_reads_yaml_floats():
    config = from_mapping(Outer, GOOD, "outer")
    assert config == Outer(3, "fast", Inner(1e-4), ["a"], {"x": 1.0}, None)
    assert isinstance(config.shares["x"], float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 1}, "outer.stepz is unknown: did you mean 'steps'?"),
        ({"mode": "medium"}, "outer.mode is 'medium', must be one of fast, slow"),
        ({"steps": "many"}, "outer.steps must be of type int, not 'many'"),
        ({"steps": True}, "outer.steps must be of type int, not True"),
        ({"steps": 0}, "outer: steps is 0, must be positive"),
        ({"inner": {"rate": 1, "x": 2}}, "outer.inner.x is unknown"),
        ({"inner": 3}, "outer.inner must be a mapping"),
        ({"names": "a"}, "outer.names must be a list"),
        ({"names": [1]}, r"outer.names\[0\] must be of type str"),
        ({"limit": "x"}, "outer.limit must be of type int"),
    ],
)
def test_says_what_is_wrong_in_one_line(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        from_mapping(Outer, {**GOOD, **change}, "outer")
    assert "\n" not in str(caught.value)


def test_names_a_missing_key():
    with pytest.raises(ConfigError, match=r"outer\.steps is missing"):
        from_mapping(Outer, {key: value for key, value in GOOD.items() if key != "steps"}, "outer")
