"""Whole trainings of a tiny model: what they leave and log, where they start, and what stops them."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from training.tiny_training import BALLE, ROI, Recorder, run, same, task, weights_of

from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError, StageError, TrainingError
from balle_li.latents.gaussian import GaussianConditional
from balle_li.registry import ModelConfig
from balle_li.training.checkpoint import BEST, LAST
from balle_li.training.loop import TrainingStep

FILES = {"model.json", "model.safetensors", "training.json"}


@pytest.fixture(scope="module")
def trained(store, config, tmp_path_factory):
    """A finished training."""
    place = tmp_path_factory.mktemp("trained")
    run(store, config(), place)
    return place


def test_what_a_training_leaves_and_logs(store, config, trained, tmp_path):
    log = Recorder()
    weights = run(store, config(), tmp_path, log)
    assert same(weights, weights_of(trained / "model"))
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    folder = ModelFolder.load(tmp_path / "model")
    assert (folder.name, folder.hyperparameters, folder.description["training"]["steps"]) == ("balle", {"N": 8}, 12)
    assert folder.trained_for == {"lmbda": 0.01, "ms_ssim_weight": 400}

    assert sorted(step for step, values in log.steps.items() if "train/loss" in values) == list(range(1, 13))
    assert sorted(step for step, values in log.steps.items() if "validation/loss" in values) == [5, 10, 12]
    first = log.steps[1]
    rate, error, inside, ms_ssim = (first[f"train/{name}"] for name in ("bpp", "mse", "box_mse", "ms_ssim_loss"))
    distortion = 0.1 * 255**2 * (0.01 * error + 0.02 * inside) + 0.01 * 400 * ms_ssim
    assert first["train/loss"] == pytest.approx(rate + distortion, rel=1e-4)
    assert inside > 0
    assert log.steps[1]["train/learning_rate"] != log.steps[6]["train/learning_rate"]
    assert log.pictures[0] == ("reconstructions", 5, (2 * 48, 3 * 48, 3), np.uint8)

    report = json.loads((tmp_path / "model" / "training.json").read_text())
    best = min(report["validations"], key=lambda record: record["loss"])
    assert report["best_step"] == best["step"]
    assert len(report["training"]) == 12
    assert report["model"] == {"name": "balle", "N": 8}


def test_a_training_is_of_its_seed(store, config, trained, tmp_path):
    assert not same(run(store, config(), tmp_path, seed=1), weights_of(trained / "model"))


def test_the_decoder_of_the_first_steps_is_noisy_but_not_from_weights(store, config, tmp_path, monkeypatch):
    seen = []

    def forward(self, u, mean, index, noisy):
        if self.training:
            seen.append(noisy)
        return forwards(self, u, mean, index, noisy)

    forwards = GaussianConditional.forward
    monkeypatch.setattr(GaussianConditional, "forward", forward)
    run(store, config(steps=6, noise_fraction=0.5), tmp_path, model=ROI)
    assert seen == [True] * 3 + [False] * 3
    again = config(steps=2, noise_fraction=0.5, init_from=str(tmp_path / "model"))
    run(store, again, tmp_path / "again", model=ROI)
    assert seen[6:] == [False] * 2


def test_a_cost_that_is_not_a_number_stops_it_and_names_the_last_good_weights(store, config, tmp_path, monkeypatch):
    forward, steps = TrainingStep.forward, []

    def failing(self, *arguments):
        cost = forward(self, *arguments)
        steps.append(cost)
        return cost | {"loss": cost["loss"] * float("nan")} if len(steps) > 7 else cost

    with monkeypatch.context() as patched:
        patched.setattr(TrainingStep, "forward", failing)
        with pytest.raises(TrainingError, match="training diverged near step 8") as error:
            run(store, config(), tmp_path)
    best = tmp_path / "work" / BEST
    assert str(best) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()
    assert all(weight.isfinite().all() for weight in weights_of(best).values())
    run(store, config(steps=1, init_from=str(best)), tmp_path / "next")


def test_weights_that_are_not_numbers_are_never_saved(store, config, tmp_path, monkeypatch):
    clip, steps = nn.utils.clip_grad_norm_, []

    def spoiling(parameters, norm):
        parameters = list(parameters)
        clip(parameters, norm)
        steps.append(norm)
        if len(steps) == 4:
            parameters[0].grad.fill_(float("nan"))

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spoiling)
    with pytest.raises(TrainingError, match="diverged"):
        run(store, config(checkpoint_minutes=1e-9), tmp_path)
    last = torch.load(tmp_path / "work" / LAST, weights_only=True)
    assert last["step"] == 3
    assert all(weight.isfinite().all() for weight in last["model"].values())


def test_the_gradient_is_clipped(store, config, tmp_path, monkeypatch):
    norms, step = [], torch.optim.Adam.step

    def measured(self, *arguments, **keywords):
        gradients = [weight.grad for group in self.param_groups for weight in group["params"]]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", measured)
    run(store, config(steps=2, clip=0.5), tmp_path / "clipped")
    run(store, config(steps=2, clip=0.0), tmp_path / "free")
    assert norms[:2] == pytest.approx([0.5, 0.5], rel=1e-3)
    assert min(norms[2:]) > 1


def test_it_starts_from_another_models_weights(store, config, trained, tmp_path):
    start = config(steps=1, lr_from_weights=1e-7, schedule="constant", init_from=str(trained / "model"))
    weights, before = run(store, start, tmp_path / "second"), weights_of(trained / "model")
    for name, weight in weights.items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=1e-6)
    with pytest.raises(TrainingError, match="holds balle with N = 8, not balle-li with N = 8"):
        run(store, start, tmp_path / "other", model=ModelConfig("balle-li", {"N": 8}))
    with pytest.raises(TrainingError, match="does not exist"):
        run(store, config(init_from=str(tmp_path / "nothing")), tmp_path / "third")


def test_weights_that_training_does_not_improve_on_are_kept(store, config, trained, tmp_path):
    spoiling = config(lr_from_weights=0.02, schedule="constant", init_from=str(trained / "model"))
    weights = run(store, spoiling, tmp_path)
    assert same(weights, weights_of(trained / "model"))
    training = json.loads((tmp_path / "model" / "training.json").read_text())
    assert training["best_step"] == 0 and training["validations"][0]["step"] == 0


def test_training_lowers_the_cost_in_bf16_too(store, config, tmp_path):
    log = Recorder()
    run(store, config(steps=60, lr=8e-3, precision="bf16", tune="psnr", validate_every=60), tmp_path, log)
    assert log.steps[60]["train/loss"] < 0.98 * log.steps[3]["train/loss"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_are_the_same_steps(store, config, tmp_path):
    few_levels = ModelConfig(ROI.name, {**ROI.arguments, "levels": 1})  # each level is compiled apart
    plain, compiled = (
        run(
            store,
            config(steps=4, crop=48, noise_fraction=0, compile=compile),
            tmp_path / str(compile),
            model=few_levels,
        )
        for compile in (False, True)
    )
    start = task(store, config(), model=few_levels).new_model().state_dict()
    moved = {name: float((weight - start[name]).abs().max()) for name, weight in plain.items()}
    apart = {name: float((weight - compiled[name]).abs().max()) for name, weight in plain.items()}
    assert max(moved.values()) > 0.002
    assert all(apart[name] <= 0.1 * moved[name] + 1e-5 for name in plain), apart


class NotCompilable(nn.Module):
    """What torch.compile makes of a module where there is no compiler."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *_: object) -> None:
        raise TorchDynamoException("no C++ compiler\nwas found")


def test_where_nothing_can_be_compiled_it_says_so(store, config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, options: NotCompilable(module))
    with pytest.raises(
        TrainingError, match=r"^torch.compile failed \(no C\+\+ compiler\); .* set train.compile=false$"
    ):
        run(store, config(compile=True), tmp_path)


def test_without_validation_patches_the_last_weights_are_the_model(new_store, config, tmp_path):
    weights = run(new_store(tmp_path / "patches", validation=0), config(), tmp_path)
    last = torch.load(tmp_path / "work" / LAST, weights_only=True)["model"]
    assert same(weights, last)


def test_without_training_patches_it_says_so(new_store, config, tmp_path):
    with pytest.raises(TrainingError, match="holds no training patches"):
        run(new_store(tmp_path / "patches", train=0), config(), tmp_path)


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


def test_without_patches_it_names_the_command_to_run(config, tmp_path):
    with pytest.raises(StageError, match="kedro run --pipeline patches"):
        run(tmp_path / "nothing", config(), tmp_path, model=BALLE)
