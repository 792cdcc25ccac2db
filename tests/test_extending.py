"""docs/extending.md: each of its examples is installed as a package and works as it stands there."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from evaluation.stages import make_stages
from PIL import Image
from small_project import ROOT

from balle_li import registry
from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.comparison.report import write_comparison
from balle_li.comparison.runs import read_run
from balle_li.comparison.summary import write_summary
from balle_li.config import ComputeConfig, DatasetConfig, EvaluationConfig, Parameters, read
from balle_li.data.manifest import read_index
from balle_li.data.sources import download
from balle_li.errors import ConfigError
from balle_li.evaluation.evaluate import evaluate
from balle_li.models.base import build
from balle_li.progress import NoLog
from balle_li.registry import ModelConfig
from balle_li.training.loop import TrainingStep
from balle_li.training.loss import RateDistortionLoss

DOCUMENT = (ROOT / "docs" / "extending.md").read_text()
PARAMETERS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package that the document describes, as pip leaves it on the path."""
    site = tmp_path / "site-packages"
    (site / "my_package").mkdir(parents=True)
    facts = site / "my_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    codes, points = (re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) for language in ("python", "toml"))
    for code, point in zip(codes, points, strict=True):
        ((group, entries),) = tomllib.loads(point)["project"]["entry-points"].items()
        ((name, value),) = entries.items()
        (site / f"{value.partition(':')[0].replace('.', '/')}.py").write_text(code)
        with (facts / "entry_points.txt").open("a") as file:
            file.write(f"[{group}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(site))
    registry._offered.cache_clear()
    yield
    registry._offered.cache_clear()
    for module in [module for module in sys.modules if module.partition(".")[0] == "my_package"]:
        del sys.modules[module]


def test_the_model_trains_and_codes(tmp_path):
    torch.manual_seed(0)
    model = build(ModelConfig("residual", {"N": 8, "blocks": 1}))
    step = TrainingStep(model, RateDistortionLoss(0.01, 0.0))
    step(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), None, None)["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters())
    tables = model.eval().latent_codec.make_tables([])
    ModelFolder.of(model, tables, {"lmbda": 0.01, "ms_ssim_weight": 0.0}, {}).save(tmp_path / "model")
    codec = Codec.load(tmp_path / "model", "cpu")
    assert codec.transforms.tiled
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    data = codec.compress(image)
    assert codec.decompress(data).size == image.size and codec.decode_latents(data).shape == (8, 4, 5)


def test_its_hyperparameters_are_checked():
    with pytest.raises(ConfigError, match=r"model\.block is unknown: did you mean 'blocks'\? residual takes N, blocks"):
        build(ModelConfig("residual", {"N": 8, "block": 1}))


def test_params_yaml_may_name_all_four():
    values = PARAMETERS | {"model": {"name": "residual", "N": 8}}
    values["evaluate"] = PARAMETERS["evaluate"] | {"metrics": ["psnr", "ms_ssim", "edges"], "codecs": ["gif"]}
    values["dataset"] = PARAMETERS["dataset"] | {"source": "csv-table", "csv_table": {"path": "table.csv"}}
    parameters = read(Parameters, values, "")
    assert parameters.evaluate.metrics[-1] == "edges" and parameters.dataset.source == "csv-table"


def test_metric_and_codec_appear_wherever_figures_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    stages, results = make_stages(tmp_path / "stages"), tmp_path / "evaluation"
    config = EvaluationConfig(
        metrics=["psnr", "edges"], qualities=[50], jpeg_qualities=[8], codecs=["gif"], baselines=[], extra_sets={}, device="cpu",
        pictures_on_page=1,
    )  # fmt: skip
    evaluate(stages / "raw", stages / "curated", stages / "model", {}, config, {}, ComputeConfig(None, 1), results)
    table = pd.read_parquet(results / "measurements.parquet")
    assert set(table.loc[table["codec"] == "gif", "setting"]) == {f"{n} colours, dithered" for n in (4, 16, 64, 256)}
    own = table[table["codec"] == "balle-li"].set_index("image_id")
    assert (own["edges"] > 0).all() and own.loc["large", ["edges_inside", "edges_outside"]].gt(0).all()

    logged: dict[str, float] = {}

    class Log(NoLog):
        def metrics(self, step: int, values: dict[str, float]) -> None:
            logged.update(values)

    write_summary(results, Log())
    assert logged["test/edges"] == pytest.approx(own["edges"].mean())
    assert json.loads((results / "metrics.json").read_text())["model"]["edges"] == pytest.approx(own["edges"].mean())
    run = read_run("a" * 8, "one", "2026-01-01", "file:///runs/a", {"lmbda": "0.01"}, results)
    data = write_comparison([run], tmp_path / "comparison")
    assert "edges" in {facts["name"] for facts in data["sets"]["test"]["metrics"]}
    shown = (tmp_path / "comparison" / "report.html").read_text()
    assert "Edge error" in shown and "GIF" in shown


def test_the_source_is_downloaded(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (40, 20), "orange").save(tmp_path / f"{name}.png")
    rows = [
        "file,author,label,xmin,ymin,xmax,ymax",
        "a.png,Ada,Cat,0,0,20,10",
        "a.png,Ada,Dog,20,0,50,20",
        "b.png,,Cat,5,5,5,5",
    ]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    section = PARAMETERS["dataset"] | {"source": "csv-table", "csv_table": {"path": str(tmp_path / "table.csv")}}
    download(read(DatasetConfig, section, "dataset"), 0, tmp_path / "raw")
    first, second = read_index(tmp_path / "raw" / "index.parquet")
    assert first["boxes"] == [Box(0.0, 0.0, 0.5, 0.5, "Cat"), Box(0.5, 0.0, 1.0, 1.0, "Dog")] and second["boxes"] == []


def test_the_sources_parameters_are_checked(tmp_path):
    section = PARAMETERS["dataset"] | {"source": "csv-table", "csv_table": {"paths": "table.csv"}}
    with pytest.raises(ConfigError, match=r"params\.yaml: dataset\.csv_table\.paths is unknown: did you mean 'path'\?"):
        download(read(DatasetConfig, section, "dataset"), 0, tmp_path / "raw")
