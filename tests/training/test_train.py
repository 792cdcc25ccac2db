"""Whole trainings of a tiny model: what they leave, and how they go on after being stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch._dynamo.exc import TorchDynamoException

from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError, ConfigError, StageError, TrainingError
from balle_li.models.config import ModelConfig
from balle_li.models.gaussian import GaussianConditional
from balle_li.run_log import NoLog
from balle_li.training.module import TrainingModule
from balle_li.training.task import Task
from balle_li.training.train import BEST, LAST, train

MODEL = ModelConfig("balle", 8)
FILES = {"model.json", "model.safetensors", "checkpoint.safetensors", "training.json"}

# A training in a process of its own, which sends itself a signal at one step.
ALONE = """
import json, os, sys
from pathlib import Path
from balle_li.models.config import ModelConfig
from balle_li.run_log import NoLog
from balle_li.training.config import TrainConfig
from balle_li.training.train import train
from balle_li.training.module import TrainingModule

store, config, folder, work, killed_at, number = json.loads(sys.argv[1])
step = TrainingModule.training_step
def killing_step(self, *arguments):
    if self.global_step == killed_at:
        os.kill(os.getpid(), number)
    return step(self, *arguments)
TrainingModule.training_step = killing_step
train(Path(store), ModelConfig("balle", 8), TrainConfig(**config), 0.01, {"Dog": 2.0}, 0, Path(folder), Path(work), NoLog())
"""


def run(store: Path, config, place: Path, log=None, **changes) -> dict[str, torch.Tensor]:
    """Train in `place`; the trained weights."""
    arguments = {"lmbda": 0.01, "class_weights": {"Dog": 2.0}, "seed": 0, "model": MODEL} | changes
    train(store, config=config, folder=place / "model", work=place / "work", log=log or NoLog(), **arguments)
    return load_file(place / "model" / "checkpoint.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def uninterrupted(store, config, tmp_path_factory):
    return run(store, config(), tmp_path_factory.mktemp("uninterrupted"))


class Recorder(NoLog):
    def __init__(self):
        self.steps, self.pictures = {}, []

    def metrics(self, step, values):
        self.steps.setdefault(step, {}).update(values)

    def picture(self, name, step, image):
        self.pictures.append((name, step, image.shape, image.dtype))


def test_what_a_training_leaves_and_logs(store, config, uninterrupted, tmp_path):
    log = Recorder()
    weights = run(store, config(), tmp_path, log)
    assert same(weights, uninterrupted)
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    description = ModelFolder.load(tmp_path / "model").description
    assert (description["name"], description["N"], description["training"]["steps"]) == ("balle", 8, 12)

    assert sorted(step for step, values in log.steps.items() if "train/loss" in values) == list(range(1, 13))
    assert sorted(step for step, values in log.steps.items() if "validation/loss" in values) == [5, 10, 12]
    first = log.steps[1]
    rate, error, inside, structure = (first[f"train/{name}"] for name in ("bpp", "mse", "box_mse", "structure"))
    distortion = 255**2 * (0.01 * error + 0.02 * inside) + 0.01 * 400 * structure
    assert first["train/loss"] == pytest.approx(rate + distortion, rel=1e-4)
    assert inside > 0
    assert log.steps[1]["train/learning_rate"] != log.steps[6]["train/learning_rate"]
    assert log.pictures[0] == ("reconstructions", 5, (2 * 48, 3 * 48, 3), np.uint8)

    report = json.loads((tmp_path / "model" / "training.json").read_text())
    best = min(report["validations"], key=lambda record: record["loss"])
    assert report["best_step"] == best["step"]
    assert len(report["training"]) == 12


def test_stopped_by_ctrl_c_it_saves_at_once_and_goes_on_exactly(store, config, uninterrupted, tmp_path):
    class CtrlC(NoLog):
        def metrics(self, step, values):
            if step == 7:
                os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(store, config(), tmp_path, CtrlC())
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(tmp_path / "work" / LAST, weights_only=True)["global_step"] == 7
    assert not (tmp_path / "model").exists()
    log = Recorder()
    assert same(run(store, config(), tmp_path, log), uninterrupted)
    assert min(log.steps) == 8
    report = json.loads((tmp_path / "model" / "training.json").read_text())
    assert [record["step"] for record in report["training"]] == list(range(1, 13))


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", ALONE, json.dumps(arguments)]
    # Sums of floats depend on how many threads share them: exactness is promised for an equal number.
    threads = str(torch.get_num_threads())
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_killed_it_goes_on_exactly_from_its_last_checkpoint(store, config, uninterrupted, tmp_path):
    often = config(checkpoint_minutes=1e-9)
    place = [str(tmp_path / name) for name in ("model", "work")]
    killed = alone(str(store), asdict(often), *place, 8, int(signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(tmp_path / "work" / LAST, weights_only=True)["global_step"] == 8
    log = Recorder()
    assert same(run(store, config(), tmp_path, log), uninterrupted)
    assert min(log.steps) == 9


def test_the_first_steps_are_soft_but_not_from_weights(store, config, uninterrupted, tmp_path, monkeypatch):
    seen = []

    def forward(self, u, mean, index):
        if self.training:
            seen.append(self.soft)
        return forwards(self, u, mean, index)

    forwards = GaussianConditional.forward
    monkeypatch.setattr(GaussianConditional, "forward", forward)
    model = ModelConfig("balle-li-roi", 8)
    run(store, config(steps=6, soft=0.5), tmp_path, model=model)
    assert seen == [True] * 3 + [False] * 3
    again = config(steps=2, soft=0.5, init_from=str(tmp_path / "model"))
    run(store, again, tmp_path / "again", model=model)
    assert seen[6:] == [False] * 2


def test_a_finished_training_is_not_repeated(store, config, uninterrupted, tmp_path):
    run(store, config(), tmp_path)
    log = Recorder()
    assert same(run(store, config(), tmp_path, log), uninterrupted)
    assert log.steps == {}


def test_an_unfinished_training_of_other_patches_or_parameters_is_not_continued(store, config, new_store, tmp_path):
    run(store, config(steps=4), tmp_path)
    other = Recorder()
    run(new_store(tmp_path / "patches", train=5), config(steps=4), tmp_path, other)
    assert min(other.steps) == 1
    changed = Recorder()
    run(tmp_path / "patches", config(steps=4, lr=1e-3), tmp_path, changed)
    assert min(changed.steps) == 1


def test_a_cost_that_is_not_a_number_stops_it_and_names_the_last_good_weights(store, config, tmp_path, monkeypatch):
    cost = TrainingModule.cost

    def failing(self, batch, r):
        result = cost(self, batch, r)
        return result | {"loss": result["loss"] * float("nan")} if self.global_step >= 7 else result

    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "cost", failing)
        with pytest.raises(TrainingError, match="training diverged near step 8") as error:
            run(store, config(), tmp_path)
    best = tmp_path / "work" / BEST
    assert str(best) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()
    weights = load_file(best / "checkpoint.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
    run(store, config(steps=1, init_from=str(best)), tmp_path / "next")


def test_weights_that_are_not_numbers_are_never_saved(store, config, tmp_path, monkeypatch):
    step = TrainingModule.configure_gradient_clipping

    def spoiling(self, *arguments, **keywords):
        step(self, *arguments, **keywords)
        if self.global_step == 3:
            self.model.g_a[0].weight.grad.fill_(float("nan"))

    monkeypatch.setattr(TrainingModule, "configure_gradient_clipping", spoiling)
    with pytest.raises(TrainingError, match="diverged"):
        run(store, config(checkpoint_minutes=1e-9), tmp_path)
    last = torch.load(tmp_path / "work" / LAST, weights_only=True)
    assert last["global_step"] == 3
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())


def test_it_starts_from_another_models_weights(store, config, uninterrupted, tmp_path):
    run(store, config(), tmp_path / "first")
    start = config(steps=1, lr_from_weights=1e-7, schedule="constant", init_from=str(tmp_path / "first" / "model"))
    weights = run(store, start, tmp_path / "second")
    for name, weight in weights.items():
        torch.testing.assert_close(weight, uninterrupted[name], rtol=0, atol=1e-6)
    with pytest.raises(TrainingError, match="holds balle with N = 8, not balle-li with N = 8"):
        train(store, ModelConfig("balle-li", 8), start, 0.01, {}, 0, tmp_path / "model", tmp_path / "work", NoLog())
    with pytest.raises(TrainingError, match="does not exist"):
        run(store, config(init_from=str(tmp_path / "nothing")), tmp_path / "third")


def test_weights_that_training_does_not_improve_on_are_kept(store, config, uninterrupted, tmp_path):
    run(store, config(), tmp_path / "first")
    spoiling = config(lr_from_weights=0.02, schedule="constant", init_from=str(tmp_path / "first" / "model"))
    weights = run(store, spoiling, tmp_path / "second")
    assert same(weights, uninterrupted)
    training = json.loads((tmp_path / "second" / "model" / "training.json").read_text())
    assert training["best_step"] == 0 and training["validations"][0]["step"] == 0


def test_training_lowers_the_cost_in_bf16_too(store, config, tmp_path):
    log = Recorder()
    run(store, config(steps=60, lr=8e-3, precision="bf16", validate_every=60), tmp_path, log)
    assert log.steps[60]["train/loss"] < 0.98 * log.steps[3]["train/loss"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_are_the_same_steps(store, config, tmp_path):
    plain, compiled = (
        run(
            store,
            config(steps=4, soft=0, compile=compile),
            tmp_path / str(compile),
            model=ModelConfig("balle-li-roi", 8),
        )
        for compile in (False, True)
    )
    start = Task(store, ModelConfig("balle-li-roi", 8), config(), 0.01, {}, 0).new_model().state_dict()
    moved = {name: float((weight - start[name]).abs().max()) for name, weight in plain.items()}
    apart = {name: float((weight - compiled[name]).abs().max()) for name, weight in plain.items()}
    assert max(moved.values()) > 0.002
    assert all(apart[name] <= 0.1 * moved[name] + 1e-5 for name in plain), apart


def test_where_nothing_can_be_compiled_it_says_so(store, config, tmp_path, monkeypatch):
    def failing(*_: object, **__: object) -> None:
        raise TorchDynamoException("no C++ compiler\nwas found")

    monkeypatch.setattr(torch, "compile", lambda function, options: failing)
    with pytest.raises(
        TrainingError, match=r"^torch.compile failed \(no C\+\+ compiler\); .* set train.compile=false$"
    ):
        run(store, config(compile=True), tmp_path)


def test_without_validation_patches_the_last_weights_are_the_model(new_store, config, uninterrupted, tmp_path):
    weights = run(new_store(tmp_path / "patches", validation=0), config(), tmp_path)
    last = torch.load(tmp_path / "work" / LAST, weights_only=True)["state_dict"]
    assert all(torch.equal(weight, last[f"model.{name}"]) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 64}, "train.crop is 64, but patches.size is only 48"),
        ({"crop": 40}, "must be a multiple of 16 for balle"),
        ({"device": "gpu"}, "train.device is gpu"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(store, config, tmp_path, changes, message):
    if changes.get("device") == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BalleLiError, match=message):
        run(store, config(**changes), tmp_path)


def test_settings_out_of_range_are_refused(config):
    for changes in ({"steps": 0}, {"lr": 0.0}, {"warmup": 1.0}, {"clip": -1.0}, {"checkpoint_minutes": 0.0}):
        with pytest.raises(ConfigError):
            config(**changes)


def test_without_patches_it_names_the_command_to_run(config, tmp_path):
    with pytest.raises(StageError, match="kedro run --pipeline patches"):
        run(tmp_path / "nothing", config(), tmp_path)


def test_two_at_a_time_are_refused(store, config, tmp_path):
    (tmp_path / "work").mkdir()
    with FileLock(tmp_path / "work" / "lock"), pytest.raises(TrainingError, match="another process trains"):
        run(store, config(), tmp_path)


def test_stops_early_when_it_improves_no_more(store, config, tmp_path):
    patient = config(steps=60, lr=1e-12, schedule="constant", validate_every=3, patience=2)
    log = Recorder()
    run(store, patient, tmp_path, log)
    training = json.loads((tmp_path / "model" / "training.json").read_text())
    last = training["validations"][-1]["step"]
    assert last < 60
    assert training["training"][-1]["step"] == last
    again = Recorder()
    run(store, patient, tmp_path, again)  # it was over: nothing is trained again
    assert not again.steps
