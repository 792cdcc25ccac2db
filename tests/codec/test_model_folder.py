import json
import shutil

import pytest
import torch
from tiny_model import tiny_model, tiny_model_folder

from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-li"])
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


def edited(folder, edit):
    tiny_model_folder(folder)
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
