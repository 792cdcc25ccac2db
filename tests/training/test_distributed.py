"""Two processes under torchrun against one with the whole batch."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from training.tiny_training import run, weights_of

from balle_li.registry import ModelConfig

SCRIPT = """
import json, sys
from pathlib import Path
from balle_li.registry import ModelConfig
from balle_li.progress import NoLog
from balle_li.config import TrainConfig
from balle_li.training.loop import train
from balle_li.training.task import Task

name, store, config, folder, work = json.loads(sys.argv[1])
task = Task(Path(store), ModelConfig(name, {"N": 8}), TrainConfig(**config), 0.01, {"Dog": 2.0}, 0)
train(task, Path(folder), Path(work), NoLog())
"""


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_two_processes_train_as_one(name, store, config, tmp_path):
    settings = config(steps=11, schedule="constant", lr=1e-4)
    one = run(store, settings, tmp_path / "one", model=ModelConfig(name, {"N": 8}))

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = json.dumps(
        [name, str(store), asdict(settings), str(tmp_path / "two/model"), str(tmp_path / "two/work")]
    )
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [*torchrun, str(script), arguments], env=environment, capture_output=True, text=True, timeout=240
    )
    assert finished.returncode == 0 and "deprecated" not in finished.stderr, finished.stderr

    two = weights_of(tmp_path / "two/model")
    assert one.keys() == two.keys()
    for name, weight in one.items():
        # gamma starts where its reparametrisation has no slope, and Adam makes steps of what rounding leaves there.
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=5e-4 if name.endswith("gamma") else 2e-5)
    reports = [json.loads((tmp_path / name / "model/training.json").read_text()) for name in ("one", "two")]
    for first, second in zip(*(report["validations"] for report in reports), strict=True):
        assert abs(first["loss"] - second["loss"]) < 1e-3 * first["loss"]
