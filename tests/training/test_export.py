"""The end of a training: a model folder that codes as the trained model does, with PMFs counted on training patches."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from table_checks import check_tables_of_scales
from tiny_model import OWN_MODELS
from training.tiny_training import ROI, task

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.transforms import Transforms
from balle_li.data.patch_store import PatchStore
from balle_li.errors import BalleLiError
from balle_li.latents.conditional import ConditionalLatents
from balle_li.models.base import build
from balle_li.quality_map import QUALITY_SPAN, STEPS
from balle_li.registry import ModelConfig
from balle_li.training.checkpoint import save_weights
from balle_li.training.export import export, finished_model, training_latents

CPU = torch.device("cpu")
TRAINED_FOR = {"lmbda": 0.02, "ms_ssim_weight": 300.0}


def untrained(name):
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": 8})).eval()
    latents = model.latent_codec
    if isinstance(latents, ConditionalLatents):
        state = latents.h_c[-1].state_dict()  # next to nought before training
        latents.h_c[-1].load_state_dict(state | {"weight": 0.3 * torch.randn_like(state["weight"])})
    return model


@pytest.mark.parametrize("name", OWN_MODELS)
def test_the_folder_codes_as_the_model_does(store, name, tmp_path):
    finished_model(untrained(name), PatchStore(store, "train"), TRAINED_FOR, {"steps": 3}).save(tmp_path)
    folder = ModelFolder.load(tmp_path)
    assert folder.description["training"] == {"steps": 3}
    assert folder.trained_for == TRAINED_FOR
    assert (folder.name, folder.hyperparameters) == (name, {"N": 8})

    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    codec = without_dead_zone(Codec(folder, CPU, torch.float32))
    decoded = np.asarray(codec.decompress(codec.compress(Image.fromarray(image))))
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():  # with its tables the model rounds around their medians
        expected = folder.model(x)["x_hat"].clamp(0, 1).mul(255).round()[0].permute(1, 2, 0).numpy()
    # A latent on the edge of rounding may tip: means are whole numbers over 256 in the codec.
    assert np.abs(decoded - expected).mean() < 0.25


def test_some_of_what_is_counted_is_a_small_part_enlarged(store, monkeypatch):
    seen = []
    monkeypatch.setattr("balle_li.training.export._SMOOTH_EVERY", 2)
    monkeypatch.setattr(Transforms, "analyse", lambda self, rgb: seen.append(rgb) or np.zeros((32, 2, 2), np.float32))
    list(training_latents(untrained("balle-li-roi"), PatchStore(store, "train")))
    changes = [np.abs(np.diff(rgb.astype(int), axis=0)).mean() for rgb in seen]
    assert len({rgb.shape for rgb in seen}) == 1 and len(seen) >= 4
    assert max(changes[1::2]) < 0.5 * min(changes[::2])


def codecs(store):
    """Of an untrained model: with the tables of Gaussians, and with those counted on patches."""
    made = []
    for counted in (False, True):
        model, patches = untrained("balle-li-roi"), PatchStore(store, "train")
        if counted:
            folder = finished_model(model, patches, TRAINED_FOR, {})
        else:
            folder = ModelFolder.of(model, model.latent_codec.make_tables([]), TRAINED_FOR, {})
        made.append(without_dead_zone(Codec(folder, CPU, torch.float32)))
    return made


def without_dead_zone(codec):
    """The codec, rounding as the model does."""
    if isinstance(codec.latents, ConditionalLatents):
        codec.latents._dead_zone[:] = 0
    return codec


def test_counted_on_training_patches_the_tables_take_fewer_bytes_and_decode_alike(store):
    gaussian, counted = codecs(store)
    sizes = []
    for patch in PatchStore(store, "train").read(np.arange(7)):
        for quality in (10, 50, 90):
            before, after = (codec.compress(Image.fromarray(patch), quality=quality) for codec in (gaussian, counted))
            assert np.array_equal(gaussian.decode_latents(before), counted.decode_latents(after))
            sizes.append((len(before), len(after)))
    before, after = np.sum(sizes, axis=0)
    assert after < 0.95 * before


def test_counted_rows_are_symmetric_wider_with_each_scale_and_cover_what_was_never_seen(store):
    check_tables_of_scales(codecs(store)[1].latents.coder)


def test_symbols_are_counted_over_the_range_of_qualities(store):
    model = untrained("balle-li-roi")
    pairs = list(training_latents(model, PatchStore(store, "train")))
    assert len(pairs) == 7
    assert all(y.shape == (32, 3, 3) and r.shape == (3, 3) and (r == r[0, 0]).all() for y, r in pairs)
    levels = {int(r[0, 0]) for _, r in pairs}
    assert len(levels) == 7 and min(levels) == -QUALITY_SPAN * STEPS and max(levels) > QUALITY_SPAN * STEPS / 2


def test_the_best_weights_are_exported_with_what_the_training_was(store, config, tmp_path):
    training = task(store, config(), model=ROI)
    weights = replace(training, seed=1).new_model()
    save_weights(weights, tmp_path / "best/model.safetensors", {"step": "5"})
    history = {"training": [], "validations": [{"step": 5, "loss": 1.0}, {"step": 10, "loss": 2.0}], "seconds": 3.0}
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text("of an earlier training")
    export(training, tmp_path / "best/model.safetensors", history, tmp_path / "model")
    folder = ModelFolder.load(tmp_path / "model")
    assert folder.description["training"] == {"steps": 10, "best_step": 5, "validation": {"step": 5, "loss": 1.0}}
    assert folder.trained_for == {"lmbda": 0.01, "ms_ssim_weight": 400.0}
    state = folder.model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in weights.state_dict().items())
    report = json.loads((tmp_path / "model/training.json").read_text())
    assert (report["lmbda"], report["train"]["steps"], report["device"][:3], report["precision"]) == (
        0.01, 12, "cpu", "fp32",
    )  # fmt: skip
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "model.json", "model.safetensors", "training.json",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["", "model.safetensors"])
def test_where_no_step_was_better_the_model_stays_what_it_was(store, config, tmp_path, place):
    model = untrained("balle-li-roi")
    tables = model.latent_codec.make_tables([])  # not those that would be counted on the patches
    started = ModelFolder.of(model, tables, TRAINED_FOR, {"steps": 3})
    started.save(tmp_path / "start")
    save_weights(model, tmp_path / "best/model.safetensors", {"step": "0"})
    history = {"training": [], "validations": [{"step": 0, "loss": 1.0}, {"step": 12, "loss": 2.0}], "seconds": 3.0}
    training = task(store, config(steps=40, init_from=str(tmp_path / "start" / place)), model=ROI)  # it stopped early
    export(training, tmp_path / "best/model.safetensors", history, tmp_path / "model")
    folder = ModelFolder.load(tmp_path / "model")
    assert folder.fingerprint == started.fingerprint
    assert folder.trained_for == TRAINED_FOR != {"lmbda": 0.01, "ms_ssim_weight": 400.0}
    assert folder.description["training"] == {"steps": 12, "best_step": 0, "validation": {"step": 0, "loss": 1.0}}


def test_weights_that_are_not_finite_are_refused(store):
    model = untrained("balle")
    with torch.no_grad():
        model.g_s[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(BalleLiError, match="diverged"):
        finished_model(model, PatchStore(store, "train"), TRAINED_FOR, {})
