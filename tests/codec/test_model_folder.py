import json
import shutil

import pytest
import torch
from tiny_model import tiny_model, tiny_model_folder

from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-li", "balle-li-roi"])
def test_a_folder_comes_back(tmp_path, name):
    model = tiny_model(name)
    model.save(tmp_path)
    loaded = ModelFolder.load(tmp_path)
    assert loaded.description == model.description and loaded.fingerprint == model.fingerprint
    assert all(torch.equal(loaded.tensors[key], tensor) for key, tensor in model.tensors.items())


def refusal(folder):
    with pytest.raises(BalleLiError) as error:
        ModelFolder.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


def test_missing_and_damaged_files_are_named(tmp_path):
    assert "not a model folder" in refusal(tmp_path / "nowhere")
    tiny_model_folder(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    tensors = tmp_path / "a" / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    assert "model.safetensors is damaged" in refusal(tmp_path / "a")
    (tmp_path / "b" / "model.json").write_text("{")
    assert "not valid JSON" in refusal(tmp_path / "b")


def edited(folder, edit, name="balle"):
    tiny_model_folder(folder, name)
    description = json.loads((folder / "model.json").read_text())
    edit(description)
    (folder / "model.json").write_text(json.dumps(description))
    return refusal(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(format=2), "format 1"),
        (lambda d: d.update(downsampling=32), "32"),
        (lambda d: d.update(downsampling="16"), "downsampling"),
        (lambda d: d["networks"].pop("g_s"), "g_s is missing"),
        (lambda d: d["networks"].pop("g_a"), "missing"),
        (lambda d: d["networks"]["g_s"].pop(0), "g_s"),
        (lambda d: d["networks"]["g_a"][0].update(kernel=7, padding=3), "g_a.0.weight"),
        (lambda d: d["networks"]["g_a"].insert(0, {"type": "sigmoid"}), "g_a"),
        (lambda d: d["networks"].update(g_a=[]), "list of layers"),
        (lambda d: d["tables"]["y"].update(kind="conditional"), "conditional"),
        (lambda d: d["tables"]["y"].update(precision=15), "sum to"),
        (lambda d: d["tables"]["y"].pop("precision"), "precision"),
        (lambda d: d.pop("tables"), "tables"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path, edit, words):
    assert words in edited(tmp_path, edit)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d["networks"].pop("h_a"), "networks.h_a"),
        (lambda d: d.pop("integer_networks"), "integer_networks"),
        (lambda d: d["integer_networks"]["h_s"].pop(), "h_s must take 6 channels and give 16"),
        (lambda d: d["integer_networks"]["h_s"][1].update(type="sigmoid"), "sigmoid"),
        (lambda d: d["integer_networks"]["h_s"][0].pop("shift"), "shift"),
        (lambda d: d["integer_networks"]["h_s"][0].update(shift=25), "shift"),
        (lambda d: d["tables"].pop("z"), "tables.z"),
        (lambda d: d["importance"].update(steps=4), "steps"),
    ],
)
def test_conditional_descriptions_that_do_not_fit_are_refused(tmp_path, edit, words):
    assert words in edited(tmp_path, edit, "balle-li-roi")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("h_s.0.weight", lambda t: t.float(), "int32"),
        ("h_s.0.weight", lambda t: t + 2**28, "2\\^53"),
        ("encoder_gain", lambda t: t[:-1], "encoder_gain"),
        ("decoder_gain", lambda t: t / 0, "decoder_gain"),
        ("tables.z.median", lambda t: t[:-1], "tables.z.median"),
    ],
)
def test_conditional_tensors_that_do_not_fit_are_refused(name, change, words):
    model = tiny_model("balle-li-roi")
    with pytest.raises(BalleLiError, match=words):
        ModelFolder(model.description, model.tensors | {name: change(model.tensors[name])}).check()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("g_s.1.gamma", lambda t: t * float("nan")),
        ("g_s.0.weight", lambda t: t.double()),
        ("tables.y.median", lambda t: t[:-1]),
        ("tables.y.frequencies", lambda t: t + 1),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name, change):
    model = tiny_model()
    with pytest.raises(BalleLiError, match=r"median|gamma|weight|sum to"):
        ModelFolder(model.description, model.tensors | {name: change(model.tensors[name])}).check()


@pytest.mark.parametrize(
    ("name", "changes"),
    [("g_a.0.weight", False), ("g_s.0.weight", True), ("tables.y.median", True), ("tables.y.offset", True)],
)
def test_the_fingerprint_is_of_what_decoding_needs(name, changes):
    model = tiny_model()
    other = ModelFolder(model.description | {"lmbda": 9.0}, model.tensors | {name: model.tensors[name] + 1})
    assert (other.fingerprint != model.fingerprint) == changes


@pytest.mark.parametrize(
    ("name", "changes"),
    [("h_a.0.weight", False), ("encoder_gain", False), ("decoder_gain", True), ("h_s.0.bias", True)],
)
def test_the_fingerprint_of_a_conditional_model_is_of_what_decoding_needs(name, changes):
    model = tiny_model("balle-li-roi")
    other = ModelFolder(model.description, model.tensors | {name: model.tensors[name] + 1})
    assert (other.fingerprint != model.fingerprint) == changes
