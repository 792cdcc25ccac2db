"""What names a training, and the weights that it starts from."""

import shutil
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch
from safetensors.torch import save_file

from balle_li import registry
from balle_li.codec.model_folder import TENSORS_FILE
from balle_li.errors import TrainingError
from balle_li.registry import MODELS, ModelConfig
from balle_li.training.checkpoint import save_weights
from balle_li.training.task import Task


@pytest.fixture
def task(store, config):
    return Task(store, ModelConfig("balle", {"N": 8}), config(), 0.01, {"Dog": 2.0}, 0)


def with_start(task, place):
    return replace(task, config=replace(task.config, init_from=str(place)))


def test_the_fingerprint_tells_trainings_apart_but_not_where_they_run(task, config, new_store, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_offered", lambda group: {"theirs": EntryPoint("theirs", "a:B", MODELS.group)})
    others = [
        replace(task, lmbda=0.02),
        replace(task, seed=1),
        replace(task, class_weights={}),
        replace(task, model=ModelConfig("balle", {"N": 16})),
        replace(task, model=ModelConfig("theirs", {"N": 8, "seed": 0})),  # of the model: another than the training's
        replace(task, model=ModelConfig("theirs", {"N": 8, "seed": 1})),
        replace(task, config=config(steps=13)),
        replace(task, patches=new_store(tmp_path / "patches", train=8)),
    ]
    assert len({task.fingerprint(), *(other.fingerprint() for other in others)}) == 1 + len(others)
    for same in (config(device="auto"), config(checkpoint_minutes=1.0)):
        assert replace(task, config=same).fingerprint() == task.fingerprint()


def test_weights_to_start_from_count_by_what_they_are(task, tmp_path):
    first, second = task.new_model(), replace(task, seed=1).new_model()
    for folder, model in (("a", first), ("b", second)):
        save_weights(model, tmp_path / folder / TENSORS_FILE, {"step": "3"})
    shutil.copytree(tmp_path / "a", tmp_path / "copy of a")
    a, copy, b = (with_start(task, tmp_path / folder).fingerprint() for folder in ("a", "copy of a", "b"))
    assert a == copy and len({a, b, task.fingerprint()}) == 3
    assert with_start(task, tmp_path / "a" / TENSORS_FILE).fingerprint() == a


def test_a_file_starts_a_model_as_its_folder_does(task, tmp_path):
    weights = replace(task, seed=1).new_model()
    save_weights(weights, tmp_path / TENSORS_FILE, {})
    for place in (tmp_path, tmp_path / TENSORS_FILE):
        started = dict(with_start(task, place).new_model().named_parameters())
        assert all((started[name] == weight).all() for name, weight in weights.named_parameters())


def test_from_weights_nothing_has_a_scaled_parametrization(task, tmp_path):
    task = replace(task, model=ModelConfig("balle-li-roi", {"N": 8}))
    new = task.new_model()
    save_weights(new, tmp_path / TENSORS_FILE, {})
    started = with_start(task, tmp_path).new_model()
    assert [float(model.latent_codec.h_s[-1].units.max()) for model in (new, started)] == [32, 1]
    finished, state = new.state_dict(), started.state_dict()
    assert all(torch.equal(state[name], finished[name]) for name, _ in new.named_parameters())
    assert torch.equal(started.latent_codec.h_c[-1].weight, finished["latent_codec.h_c.2.weight"])


def test_weights_that_do_not_fit_are_one_line(task, tmp_path):
    save_weights(task.new_model(), tmp_path / TENSORS_FILE, {})
    larger = replace(task, model=ModelConfig("balle", {"N": 16}))
    with pytest.raises(TrainingError, match="balle with N = 8, not balle with N = 16") as caught:
        with_start(larger, tmp_path).new_model()
    assert "\n" not in str(caught.value)
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match="holds no training weights"):
        with_start(task, tmp_path / "other.safetensors").new_model()
    with pytest.raises(TrainingError, match="does not exist"):
        with_start(task, tmp_path / "nothing").fingerprint()
