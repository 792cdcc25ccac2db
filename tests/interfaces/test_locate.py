import sys
import types
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_model import tiny_model, tiny_model_folder

from balle_li.codec.codec import Codec
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.files import TUNES, released_model
from balle_li.interfaces import decoding_codec, default_codec, model_folder


@pytest.fixture(autouse=True)
def empty_project(tmp_path, monkeypatch):
    monkeypatch.delenv("BALLE_LI_MODEL", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    default_codec.cache_clear()
    yield
    default_codec.cache_clear()


def test_the_name_comes_before_the_variable_and_that_before_the_model_that_ships(monkeypatch):
    assert model_folder() == released_model()
    monkeypatch.setenv("BALLE_LI_MODEL", "elsewhere")
    assert model_folder() == Path("elsewhere")
    assert model_folder("named") == Path("named")


def test_a_tune_names_a_model_that_ships(monkeypatch):
    monkeypatch.setenv("BALLE_LI_MODEL", "elsewhere")
    assert [model_folder(tune=tune) for tune in TUNES] == [released_model(), released_model("psnr")]
    with pytest.raises(BalleLiError, match="tune is 'ssim', must be ms-ssim or psnr"):
        model_folder(tune="ssim")
    with pytest.raises(BalleLiError, match="give a model or a tune, not both"):
        model_folder("named", "psnr")
    with pytest.raises(BalleLiError, match="give a model folder or a tune"):
        Codec.load("named", tune="psnr")


def test_streams_of_both_tunes_decode_without_a_name():
    picture = Image.effect_noise((40, 40), 50).convert("RGB")
    for tune in TUNES:
        codec = Codec.load(tune=tune)
        assert codec.tune == tune
        assert decoding_codec(codec.compress(picture)).fingerprint == codec.fingerprint


def test_a_stream_finds_the_model_that_made_it(tmp_path):
    picture = Image.new("RGB", (20, 20))
    trained = Codec(tiny_model(), torch.device("cpu"))
    by_default, by_trained = Codec.load(released_model()).compress(picture), trained.compress(picture)
    with pytest.raises(
        BitstreamError, match=r"made by model .* not by balle-li-roi \w+ or balle-li-roi \w+; name its folder"
    ):
        decoding_codec(by_trained)
    tiny_model_folder(tmp_path / "data" / "04_models" / "model")
    assert decoding_codec(by_trained).fingerprint == trained.fingerprint
    assert decoding_codec(by_default).fingerprint == Codec.load(released_model()).fingerprint
    other = Codec(tiny_model(seed=5), torch.device("cpu")).compress(picture)
    with pytest.raises(BitstreamError, match=r"not by balle-li-roi \w+ or balle \w+ or balle-li-roi "):
        decoding_codec(other)


def test_registry_addresses_go_to_the_registry(monkeypatch):
    registry = types.ModuleType("balle_li.tracking.registry")
    registry.model_path = lambda uri: Path("fetched", uri.rpartition("@")[2])
    monkeypatch.setitem(sys.modules, "balle_li.tracking.registry", registry)
    assert model_folder("models:/balle-li@champion") == Path("fetched/champion")
