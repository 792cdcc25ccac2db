"""The evaluate stage in its MLflow run: values, and the pictures that they are of."""

import dataclasses
import shutil
from pathlib import Path

from evaluation.stages import CONFIG, make_stages
from tiny_model import tiny_model_folder

from balle_li.tracking import connection, run
from pipelines.evaluate.nodes import evaluate


def test_a_run_names_every_set_of_pictures_and_has_the_values_of_each(home: Path) -> None:
    make_stages(home)
    shutil.copytree(home / "raw", home / "mine")
    tiny_model_folder(home / "kept")
    config = dataclasses.replace(CONFIG, metrics=["psnr"], extra_sets={"mine": "mine"}, baselines=["kept/"])
    run_id = run.open_run({}, {})
    inputs = home / "raw", home / "curated", home / "model", {"run_id": run_id}
    settings = dataclasses.asdict(config), "psnr", {}, {"scheduler": None, "workers": 1}, {}
    evaluate(*inputs, *settings)(home / "report")
    found = connection.connect().get_run(run_id)
    assert {entry.dataset.name for entry in found.inputs.dataset_inputs} == {"test pictures", "mine"}
    assert len({entry.dataset.digest for entry in found.inputs.dataset_inputs}) == 2
    names = found.data.metrics.keys()
    assert names >= {"test/psnr", "mine/psnr"}
