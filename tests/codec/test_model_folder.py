import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_model, tiny_model_folder

from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-li", "balle-li-roi"])
def test_a_folder_comes_back(tmp_path, name):
    folder = tiny_model(name)
    folder.save(tmp_path)
    loaded = ModelFolder.load(tmp_path)
    assert loaded.description == folder.description and loaded.fingerprint == folder.fingerprint
    assert loaded.name == name and loaded.hyperparameters == {"N": 8} and loaded.setting == "N=8, lmbda=0.01"
    assert loaded.trained_for == {"lmbda": 0.01, "ms_ssim_weight": 0.0}
    assert not loaded.model.training
    state = loaded.model.state_dict()
    assert state.keys() == folder.model.state_dict().keys() and loaded.tables.keys() == folder.tables.keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in folder.model.state_dict().items())
    assert all(torch.equal(loaded.tables[key], tensor) for key, tensor in folder.tables.items())


def test_the_files_are_as_specified(tmp_path):
    tiny_model_folder(tmp_path, "balle-li-roi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    description = json.loads((tmp_path / "model.json").read_text())
    assert description.keys() == {"format", "model", "trained_for", "created_with", "training"}
    assert description["format"] == 3 and description["model"] == {"name": "balle-li-roi", "N": 8}
    kinds = {name: tensor.dtype for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    assert kinds["g_a.0.weight"] == kinds["tables.decoder_gain"] == kinds["tables.z.median"] == torch.float32
    assert kinds["tables.h_s.0.shift"] == kinds["tables.y.frequencies"] == kinds["tables.h_c.2.bias"] == torch.int32


def refusal(folder):
    with pytest.raises(BalleLiError) as error:
        ModelFolder.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


def test_missing_and_damaged_files_are_named(tmp_path):
    assert "not a model folder" in refusal(tmp_path / "nowhere")
    for name in "abc":
        tiny_model_folder(tmp_path / name)
    tensors = tmp_path / "a" / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    assert "model.safetensors is damaged" in refusal(tmp_path / "a")
    (tmp_path / "b" / "model.json").write_text("{")
    assert "not valid JSON" in refusal(tmp_path / "b")
    (tmp_path / "c" / "model.safetensors").unlink()
    assert "it has no model.safetensors" in refusal(tmp_path / "c")
    shutil.rmtree(tmp_path / "c")
    tiny_model_folder(tmp_path / "c")
    (tmp_path / "c" / "model.json").unlink()
    assert "it has no model.json" in refusal(tmp_path / "c")


def edited(folder, edit):
    tiny_model_folder(folder)
    description = json.loads((folder / "model.json").read_text())
    description = edit(description) or description
    (folder / "model.json").write_text(json.dumps(description))
    return refusal(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(format=2), "says format 2, this balle-li reads format 3; train the model again"),
        (lambda d: d.update(format=4), "says format 4"),
        (lambda d: d.pop("format") and None, "says format None"),
        (lambda d: [d], "format"),
        (lambda d: d.pop("model") and None, "must say model with a name"),
        (lambda d: d.update(model="balle"), "must say model with a name"),
        (lambda d: d["model"].update(name=7), "must say model with a name"),
        (lambda d: d["model"].pop("N") and None, "N is missing; balle needs it"),
        (lambda d: d["model"].update(N=0), "N is 0, must be between 1 and 1024"),
        (lambda d: d["model"].update(N="many"), "N must be of type int"),
        (lambda d: d["model"].update(depth=3), "depth is unknown: balle takes N"),
        (lambda d: d["model"].update(N=16), "the weight"),
        (lambda d: d["model"].update(name="balle-li"), "the weight"),
        (lambda d: d.pop("trained_for") and None, "must say trained_for with lmbda and ms_ssim_weight"),
        (lambda d: d["trained_for"].pop("ms_ssim_weight") or d, "must say trained_for"),
        (lambda d: d["trained_for"].update(lmbda=None), "trained_for.lmbda must be a finite number, not None"),
        (lambda d: d["trained_for"].update(ms_ssim_weight="x"), "trained_for.ms_ssim_weight must be a finite number"),
        (lambda d: d["trained_for"].update(lmbda=float("inf")), "trained_for.lmbda must be a finite number, not inf"),
        (lambda d: d["trained_for"].update(lmbda=10**400), "trained_for.lmbda must be a finite number"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path, edit, words):
    assert words in edited(tmp_path, edit)


def test_a_name_that_no_package_offers_says_so_and_nothing_is_imported(tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path / "path")
    for name in ("planted", "planted:Model", "balle_li.models.balle:Balle"):
        message = edited(tmp_path / "model", lambda d, name=name: d["model"].update(name=name))
        assert f"{name!r} is unknown" in message and "once the package is installed" in message
        assert "nothing is imported because a file says so" in message
    assert "planted" not in sys.modules


def with_tensors(folder, name, edit):
    """What loading says when the tensors were changed."""
    tiny_model_folder(folder, name)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    return refusal(folder)


def scaled(name, factor):
    return lambda tensors: tensors.update({name: tensors[name] * factor})


def cut(name):
    return lambda tensors: tensors.update({name: tensors[name][:-1].clone()})


def dropped(name):
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (dropped("g_a.0.weight"), "the weight g_a.0.weight is missing"),
        (cut("g_s.0.weight"), "the weight g_s.0.weight is torch.float32 (7, 8, 5, 5)"),
        (lambda t: t.update({"g_s.0.bias": t["g_s.0.bias"].double()}), "the weight g_s.0.bias is torch.float64"),
        (lambda t: t.update({"h_x.0.bias": torch.zeros(1)}), "the weight h_x.0.bias is not of balle"),
        (scaled("g_s.1.gamma", float("nan")), "g_s.1.gamma holds a number that is not finite"),
        (scaled("g_a.2.bias", float("inf")), "g_a.2.bias holds a number that is not finite"),
        (dropped("tables.y.frequencies"), "tables.y.frequencies is missing"),
        (dropped("tables.y.median"), "tables.y.median"),
        (cut("tables.y.median"), "tables.y.median must be float32 (8,)"),
        (scaled("tables.y.median", float("nan")), "tables.y.median holds a number that is not finite"),
        (lambda t: t["tables.y.frequencies"].add_(1), "sum to 2^16"),
        (cut("tables.y.offset"), "tables.y"),
        (lambda t: t.update({"tables.y.frequencies": t["tables.y.frequencies"].bfloat16()}), "must be int32"),
        (lambda t: t.update({key: value[:0].clone() for key, value in t.items() if "tables.y" in key}), "tables.y"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, edit, words):
    assert words in with_tensors(tmp_path, "balle", edit)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (dropped("tables.h_s.0.weight"), "tables.h_s.0.weight must be int32"),
        (lambda t: t.update({"tables.h_s.0.weight": t["tables.h_s.0.weight"].float()}), "must be int32"),
        (lambda t: t["tables.h_s.0.weight"].add_(2**28), "2^53"),
        (lambda t: t["tables.h_c.0.shift"].fill_(25), "shift must be a whole number from 0 to 24"),
        (dropped("tables.decoder_gain"), "tables.decoder_gain"),
        (cut("tables.decoder_gain"), "tables.decoder_gain must be float32 (32,)"),
        (dropped("tables.z.length"), "tables.z.length is missing"),
        (cut("tables.z.median"), "tables.z.median"),
        (cut("latent_codec.encoder_gain"), "encoder_gain"),
        (scaled("latent_codec.encoder_gain", float("nan")), "encoder_gain holds a number that is not finite"),
    ],
)
def test_conditional_tensors_that_do_not_fit_are_refused(tmp_path, edit, words):
    assert words in with_tensors(tmp_path, "balle-li-roi", edit)


def test_a_downsampling_that_the_transforms_do_not_have_is_refused():
    folder = tiny_model()
    folder.model.downsampling = 32
    with pytest.raises(BalleLiError, match="g_a of balle scales by 1/16, its downsampling says"):
        ModelFolder.of(folder.model, folder.tables, {"lmbda": 0.01, "ms_ssim_weight": 0.0}, {})


@pytest.mark.parametrize(
    ("name", "tensor", "changes"),
    [
        ("balle", "g_a.0.weight", False),
        ("balle", "g_s.0.weight", True),
        ("balle", "tables.y.median", True),
        ("balle", "tables.y.offset", True),
        ("balle-li-roi", "latent_codec.h_a.0.weight", False),
        ("balle-li-roi", "latent_codec.h_s.0.weight", False),  # its whole numbers count
        ("balle-li-roi", "latent_codec.encoder_gain", False),
        ("balle-li-roi", "tables.decoder_gain", True),
        ("balle-li-roi", "tables.h_s.0.bias", True),
        ("balle-li-roi", "tables.h_c.2.shift", True),
    ],
)
def test_the_fingerprint_is_of_what_decoding_needs(name, tensor, changes):
    folder = tiny_model(name)
    before = ModelFolder(folder.model, folder.tables, folder.description | {"training": {"steps": 3}}).fingerprint
    assert before == folder.fingerprint
    with torch.no_grad():
        state = {f"tables.{key}": value for key, value in folder.tables.items()} | folder.model.state_dict()
        state[tensor].add_(1)
    assert (ModelFolder(folder.model, folder.tables, folder.description).fingerprint != before) == changes


def test_the_fingerprint_is_of_the_hyperparameters_too():
    folder = tiny_model()
    other = folder.description | {"model": {"name": "balle", "N": 8, "depth": 2}}
    assert ModelFolder(folder.model, folder.tables, other).fingerprint != folder.fingerprint
