"""dvc.yaml (what DVC versions) and catalog plus pipelines (what Kedro reads and writes) must agree."""

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PIPELINES = [name for name in STAGES if name != "inputs"]
"""The stages that are Kedro's; the first one is a command."""


@pytest.fixture(scope="module")
def catalog() -> dict[str, dict[str, str]]:
    bootstrap_project(ROOT)
    return KedroSession.create(project_path=ROOT).load_context().config_loader["catalog"]


@pytest.fixture(scope="module")
def stages() -> dict[str, Pipeline]:
    from balle_li.pipeline_registry import register_pipelines

    return register_pipelines()


def names(entries: list) -> set[str]:
    """DVC lists hold "path" or {path: options}."""
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def covered(path: str, by: set[str]) -> bool:
    return any(other == path or PurePosixPath(other) in PurePosixPath(path).parents for other in by)


@pytest.mark.parametrize("stage", PIPELINES)
def test_dvc_and_kedro_agree(stage, stages, catalog):
    spec, pipeline = STAGES[stage], stages[stage]
    assert spec["cmd"] == f"kedro run --pipelines {stage}"
    read = {catalog[name]["filepath"] for name in pipeline.inputs() if name in catalog}
    written = {catalog[name]["filepath"] for name in pipeline.all_outputs()}
    assert not {path for path in read if not covered(path, names(spec["deps"]))}, "read, but no dependency in dvc.yaml"
    assert not {path for path in written if not covered(path, names(spec["outs"]))}, "written, but not versioned"
    assert not {out for out in names(spec["outs"]) if not any(covered(path, {out}) for path in written)}


def test_every_dependency_is_a_file_of_the_project_or_an_earlier_stage():
    made: set[str] = set()
    for spec in STAGES.values():
        for dependency in spec["deps"]:
            assert covered(dependency, made) or (ROOT / dependency).exists(), dependency
        made |= names(spec["outs"])


def test_default_pipeline_is_all_stages_in_order(stages):
    assert list(stages) == ["__default__", *PIPELINES, "compare"]
    assert len(stages["__default__"].nodes) == sum(len(stages[name].nodes) for name in PIPELINES)


def test_listing_pipelines_imports_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from kedro.framework.startup import bootstrap_project;"
        f"bootstrap_project(Path({str(ROOT)!r}));"
        "from balle_li.pipeline_registry import register_pipelines; register_pipelines();"
        "print([m for m in ('torch', 'compressai', 'fiftyone', 'mlflow', 'lightning_fabric', 'dask', 'matplotlib', 'pandas') "
        "if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip().splitlines()[-1] == "[]"


def test_every_parameter_is_accepted():
    from balle_li.config import Parameters, read

    read(Parameters, yaml.safe_load((ROOT / "params.yaml").read_text()), "")
