"""A training that was interrupted ends with the weights that it would have had."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from filelock import FileLock
from training.tiny_training import ROI, Recorder, run, same

from balle_li.errors import TrainingError
from balle_li.progress import NoLog
from balle_li.training.checkpoint import LAST

# A training in a process of its own, which sends itself a signal at one step.
ALONE = """
import json, os, sys
from pathlib import Path
from balle_li.registry import ModelConfig
from balle_li.progress import NoLog
from balle_li.config import TrainConfig
from balle_li.training.loop import TrainingStep, train
from balle_li.training.task import Task

store, config, folder, work, killed_at, number = json.loads(sys.argv[1])
forward, steps = TrainingStep.forward, 0
def killing(self, *arguments):
    global steps
    if steps == killed_at:
        os.kill(os.getpid(), number)
    steps += 1
    return forward(self, *arguments)
TrainingStep.forward = killing
task = Task(Path(store), ModelConfig("balle", {"N": 8}), TrainConfig(**config), 0.01, {"Dog": 2.0}, 0)
train(task, Path(folder), Path(work), NoLog())
"""


@pytest.fixture(scope="module")
def uninterrupted(store, config, tmp_path_factory):
    return run(store, config(), tmp_path_factory.mktemp("uninterrupted"))


class StopsAt(NoLog):
    """Sends this process a signal after step 7."""

    def __init__(self, number):
        self.number = number

    def metrics(self, step, values):
        if step == 7:
            os.kill(os.getpid(), self.number)


def alone(store, config, place, killed_at, number) -> subprocess.CompletedProcess[str]:
    folders = [str(place / name) for name in ("model", "work")]
    arguments = json.dumps([str(store), asdict(config), *folders, killed_at, int(number)])
    # Sums of floats depend on how many threads share them: exactness is promised for an equal number.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-W", "ignore", "-c", ALONE, arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def last_step(place) -> int:
    return torch.load(place / "work" / LAST, weights_only=True)["step"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_saves_at_once_and_resumes_exactly(store, config, uninterrupted, tmp_path, number, capfd):
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(store, config(), tmp_path, StopsAt(number))
    assert "Stopping after this step" in capfd.readouterr().err
    assert signal.getsignal(number) is handler
    assert last_step(tmp_path) == 7
    assert not (tmp_path / "model").exists()
    log = Recorder()
    assert same(run(store, config(), tmp_path, log), uninterrupted)
    assert min(log.steps) == 8
    report = json.loads((tmp_path / "model" / "training.json").read_text())
    assert [record["step"] for record in report["training"]] == list(range(1, 13))
    assert [record["step"] for record in report["validations"]] == [5, 10, 12]


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_all_that_is_random_resumes_exactly(store, config, tmp_path, optimizer):
    """Quality maps, noise of two latents and the steps with a noisy decoder, of a variable-rate model."""
    chosen = config(noise_fraction=0.8, optimizer=optimizer)
    whole = run(store, chosen, tmp_path / "whole", model=ROI)
    with pytest.raises(KeyboardInterrupt):
        run(store, chosen, tmp_path / "parts", StopsAt(signal.SIGINT), model=ROI)
    assert same(run(store, chosen, tmp_path / "parts", model=ROI), whole)


def test_killed_it_resumes_exactly_from_its_last_checkpoint(store, config, uninterrupted, tmp_path):
    killed = alone(store, config(checkpoint_minutes=1e-9), tmp_path, 8, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert last_step(tmp_path) == 8
    log = Recorder()
    assert same(run(store, config(), tmp_path, log), uninterrupted)
    assert min(log.steps) == 9


def test_a_finished_training_is_not_repeated(store, config, uninterrupted, tmp_path):
    run(store, config(), tmp_path)
    log = Recorder()
    assert same(run(store, config(), tmp_path, log), uninterrupted)
    assert log.steps == {}


def test_an_unfinished_training_of_other_patches_or_parameters_is_not_resumed(store, config, new_store, tmp_path):
    run(store, config(steps=4), tmp_path)
    other = Recorder()
    run(new_store(tmp_path / "patches", train=5), config(steps=4), tmp_path, other)
    assert min(other.steps) == 1
    changed = Recorder()
    run(tmp_path / "patches", config(steps=4, lr=1e-3), tmp_path, changed)
    assert min(changed.steps) == 1


def test_two_at_a_time_are_refused(store, config, tmp_path):
    (tmp_path / "work").mkdir()
    with FileLock(tmp_path / "work" / "lock"), pytest.raises(TrainingError, match="another process trains"):
        run(store, config(), tmp_path)


def test_stops_early_when_it_improves_no_more(store, config, tmp_path):
    patient = config(steps=60, lr=1e-12, schedule="constant", validate_every=3, patience=2)
    run(store, patient, tmp_path)
    training = json.loads((tmp_path / "model" / "training.json").read_text())
    last = training["validations"][-1]["step"]
    assert last < 60
    assert training["training"][-1]["step"] == training["steps"] == last
    again = Recorder()
    run(store, patient, tmp_path, again)  # it was over: nothing is trained again
    assert not again.steps
