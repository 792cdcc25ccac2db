"""params.yaml survives being rewritten by DVC: `dvc exp run -S …` is how it is changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from small_project import ROOT

ORIGINAL = (ROOT / "params.yaml").read_text()


def leaves(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


LEAVES = dict(leaves(yaml.safe_load(ORIGINAL)))


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(ORIGINAL)
    return path


def override(path: Path, setting: str) -> dict:
    """Rewrite the file as `dvc exp run -S SETTING` does; returns its leaves."""
    apply_overrides(path, [setting])
    return dict(leaves(yaml.safe_load(path.read_text())))


def comments(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip().startswith("#")]


def written(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else "null" if value is None else str(value)


@pytest.mark.parametrize("name", [name for name, value in LEAVES.items() if isinstance(value, list)])
def test_a_list_is_set_emptied_and_set_back(params, name):
    value = 1 if "qualities" in name else "Unicorn"
    for wanted in ([value], [], [value, value], LEAVES[name]):
        assert override(params, f"{name}={written(wanted)}") == {**LEAVES, name: wanted}
        assert comments(params) == [line.strip() for line in ORIGINAL.splitlines() if line.strip().startswith("#")]
    assert params.read_text() == ORIGINAL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compute.scheduler", "tcp://10.0.0.1:8786"), ("train.init_from", "null"), ("register.max_encode_ms", "null"),
        ("register.max_decode_ms", "null"), ("register.max_megabytes", "null"),
    ],
)  # fmt: skip
def test_null_is_set_and_set_back(params, name, value):
    assert override(params, f"{name}={value}")[name] == (None if value == "null" else value)
    assert comments(params)
    override(params, f"{name}={written(LEAVES[name])}")
    assert params.read_text() == ORIGINAL


def test_every_null_is_tried():
    assert [name for name, value in LEAVES.items() if value is None] == ["compute.scheduler"]


@pytest.mark.parametrize("setting", ["lmbda=0.02", "train.steps=8000", "model.name=balle", "curate.split.test=0.3"])
def test_one_setting_changes_one_line(params, setting):
    override(params, setting)
    before, after = ORIGINAL.splitlines(), params.read_text().splitlines()
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


@pytest.mark.parametrize(
    ("setting", "name", "value", "undo"),
    [
        ("+class_weights={Human face: 2.0}", "class_weights.Human face", 2.0, None),
        ("+class_weights.Dog=2.0", "class_weights.Dog", 2.0, "~class_weights.Dog"),
        ("+evaluate.extra_sets={kodak: /path/to/kodak}", "evaluate.extra_sets.kodak", "/path/to/kodak",
         "~evaluate.extra_sets.kodak"),
    ],
)  # fmt: skip
def test_maps_are_added_to(params, setting, name, value, undo):
    assert override(params, setting)[name] == value
    assert comments(params) == [line.strip() for line in ORIGINAL.splitlines() if line.strip().startswith("#")]
    if undo is not None:
        assert override(params, undo) == LEAVES
        assert comments(params) == [line.strip() for line in ORIGINAL.splitlines() if line.strip().startswith("#")]


def test_what_the_comments_say_to_type_works(params):
    settings = [line.split("-S '")[1].split("'")[0] for line in comments(params) if "-S '" in line]
    assert len(settings) == 4
    for setting in settings:
        assert override(params, setting) != LEAVES


def test_comments_have_lines_of_their_own():
    assert not [line for line in ORIGINAL.splitlines() if " #" in line and not line.strip().startswith("#")]
