import sys
import types
from pathlib import Path

import pytest
from tiny_model import tiny_model_folder

from balle_li.codec.locate import model_folder
from balle_li.errors import BalleLiError


@pytest.fixture(autouse=True)
def empty_project(tmp_path, monkeypatch):
    monkeypatch.delenv("BALLE_LI_MODEL", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def test_without_any_model_the_message_says_what_to_do():
    with pytest.raises(BalleLiError, match="--model"):
        model_folder()


def test_the_name_comes_before_the_variable_and_that_before_the_trained_model(tmp_path, monkeypatch):
    trained = tiny_model_folder(tmp_path / "data" / "04_models" / "model")
    assert model_folder() == trained
    monkeypatch.setenv("BALLE_LI_MODEL", "elsewhere")
    assert model_folder() == Path("elsewhere")
    assert model_folder("named") == Path("named")


def test_registry_addresses_go_to_the_registry(monkeypatch):
    registry = types.ModuleType("balle_li.tracking.registry")
    registry.model_path = lambda uri: Path("fetched", uri.rpartition("@")[2])
    monkeypatch.setitem(sys.modules, "balle_li.tracking.registry", registry)
    assert model_folder("models:/balle-li@champion") == Path("fetched/champion")
