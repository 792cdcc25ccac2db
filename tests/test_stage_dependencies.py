"""dvc.yaml names what decides each stage's result: its code, as far as imports reach, the lock file, and its parameters."""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest
import yaml
from small_project import ROOT

from balle_li.pipeline_registry import register_pipelines

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMETERS = yaml.safe_load((ROOT / "params.yaml").read_text())
COMMANDS = {"inputs": "balle_li.inputs"}
"""Stages that are no pipeline, by their module."""
PIPELINES = [name for name in STAGES if name not in COMMANDS]

DECIDES_NOTHING = {
    "balle_li.compute": "says where work is done and which process writes; the results are the same",
    "balle_li.errors": "holds messages",
    "balle_li.progress": "shows how far work has come, and takes what is logged",
    "balle_li.tracking": "writes to MLflow; of training and evaluation nothing is read from it but where weights lie",
}
STANDS_ALONE = {"balle_li.tracking": {"register"}}
"""Where a module of DECIDES_NOTHING does decide."""

FOUND_BY_NAME = {
    "balle_li.models.base": "balle_li.models",
    "balle_li.data.sources": "balle_li.data.sources",
}
"""Rooms whose files a registry imports by name, by the module that asks for them."""

FILES = {
    "pipelines.model_places": (
        "src/balle_li/released_model/ms-ssim/model.json",
        "src/balle_li/released_model/ms-ssim/model.safetensors",
        "src/balle_li/released_model/psnr/model.json",
        "src/balle_li/released_model/psnr/model.safetensors",
    ),
    "balle_li.evaluation.published": ("src/balle_li/evaluation/published/kodak.json",),
    "balle_li.tracking.registry": ("src/balle_li/tracking/serving_model.py",),
}
"""What a module reads and does not import."""

SAME_RESULT = {
    "compute": "where patches are cut and pictures are measured",
    "train.checkpoint_minutes": "how much an interruption costs",
}


@functools.cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("balle_li", "pipelines", cache_dir=None)


@functools.cache
def reached(stage: str) -> frozenset[str]:
    """The modules that the stage imports, at once or later, but for what decides nothing and all that it alone imports."""
    modules = graph()
    root = COMMANDS.get(stage, f"pipelines.{stage}")
    waiting = {root} | modules.find_descendants(root)
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        found = set(modules.find_modules_directly_imported_by(module))
        if module in FOUND_BY_NAME:
            found |= modules.find_children(FOUND_BY_NAME[module])
        waiting |= {name for name in found if not left_out(stage, name)} - seen
    return frozenset(seen)


def left_out(stage: str, module: str) -> bool:
    return any(
        (module == name or module.startswith(f"{name}.")) and stage not in STANDS_ALONE.get(name, ())
        for name in DECIDES_NOTHING
    )


def file_of(module: str) -> str:
    path = module.replace(".", "/")
    path = path if module.startswith("pipelines") else f"src/{path}"
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def says_nothing(path: str) -> bool:
    """Whether a file of code is a docstring alone, as the __init__.py of a room is."""
    body = ast.parse((ROOT / path).read_text()).body
    return all(isinstance(statement, ast.Expr) for statement in body)


@functools.cache
def needed(stage: str) -> frozenset[str]:
    """The files that decide the stage's result."""
    modules = reached(stage)
    code = {file_of(module) for module in modules}
    data = {path for module in modules for path in FILES.get(module, ())}
    always = {"requirements.lock"} | (set() if stage in COMMANDS else {"pipelines/folder.py"})
    return frozenset({path for path in code if not says_nothing(path)} | data | always)


def covers(dependency: str, path: str) -> bool:
    return path == dependency or path.startswith(f"{dependency}/")


def sources(stage: str) -> list[str]:
    return [path for path in STAGES[stage]["deps"] if not path.startswith("data/")]


def missing(stage: str, dependencies: list[str]) -> list[str]:
    return sorted(path for path in needed(stage) if not any(covers(dependency, path) for dependency in dependencies))


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_decides_a_stage_is_named(stage):
    assert missing(stage, sources(stage)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_else_is_named(stage):
    for dependency in sources(stage):
        assert any(covers(dependency, path) for path in needed(stage)), f"{stage} does not need {dependency}"
        inside = (f"src/{name.replace('.', '/')}.py" for name in graph().modules)
        needless = [
            path
            for path in inside
            if covers(dependency, path)
            and (ROOT / path).is_file()
            and path not in needed(stage)
            and not says_nothing(path)
        ]
        assert needless == [], f"{stage} names the whole of {dependency}, but does not need these"


@pytest.mark.parametrize(("stage", "line"), [(stage, line) for stage in STAGES for line in sources(stage)])
def test_a_line_that_is_taken_out_is_missed(stage, line):
    assert missing(stage, [other for other in sources(stage) if other != line])


def leaves(values: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize("stage", PIPELINES)
def test_the_parameters_that_decide_a_stage_are_named(stage):
    inputs = {
        name.removeprefix("params:") for name in register_pipelines()[stage].inputs() if name.startswith("params:")
    }
    read = {leaf for leaf in leaves(PARAMETERS) if any(leaf == name or leaf.startswith(f"{name}.") for name in inputs)}
    same = {leaf for leaf in read if any(leaf == name or leaf.startswith(f"{name}.") for name in SAME_RESULT)}
    named = STAGES[stage].get("params", [])
    watched = {
        leaf for leaf in leaves(PARAMETERS) if any(leaf == name or leaf.startswith(f"{name}.") for name in named)
    }
    assert watched == read - same


def test_the_exceptions_are_true():
    modules = graph().modules
    assert all(
        name in modules for name in (*DECIDES_NOTHING, *STANDS_ALONE, *FOUND_BY_NAME, *FOUND_BY_NAME.values(), *FILES)
    )
    assert all(Path(ROOT / path).is_file() for paths in FILES.values() for path in paths)
    assert set(SAME_RESULT) <= {*leaves(PARAMETERS), *PARAMETERS}
