import pytest

from balle_li import released
from balle_li.errors import TrackingError, TrainingError
from balle_li.files import read_json
from pipelines.train.initial_weights import locate


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_nothing_a_folder_and_a_file(home):
    (home / "kept").mkdir()
    (home / "kept" / "checkpoint.safetensors").touch()
    assert locate(None, "balle", 8) is None
    assert locate("kept", "balle", 8) == str(home / "kept")
    assert locate(str(home / "kept/checkpoint.safetensors"), "balle", 8) == str(home / "kept/checkpoint.safetensors")


def test_what_is_not_there_is_one_line_that_says_what_to_do(home):
    for name, error, words in (
        ("data/04_models/model", TrainingError, "name a copy of a model folder"),
        ("models:/balle-li@champion", TrackingError, "is not in the registry"),
    ):
        with pytest.raises(error, match=words) as caught:
            locate(name, "balle", 8)
        assert "\n" not in str(caught.value)


def test_released_weights_where_they_fit_the_model(home):
    description = read_json(released.MODEL_FOLDER / "model.json")
    assert locate("released", description["name"], description["N"]) == str(released.MODEL_FOLDER)
    assert (released.MODEL_FOLDER / "checkpoint.safetensors").is_file()
    assert locate("released", "balle", description["N"]) is None
    assert locate("released", description["name"], description["N"] + 1) is None
