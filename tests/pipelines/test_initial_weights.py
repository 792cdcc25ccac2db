import pytest

from balle_li.errors import TrackingError, TrainingError
from balle_li.files import RELEASED_MODEL, read_json
from pipelines.train.initial_weights import locate

BALLE = {"name": "balle", "N": 8}


def test_nothing_a_folder_and_a_file(home):
    (home / "kept").mkdir()
    (home / "kept" / "model.safetensors").touch()
    assert locate(None, BALLE) is None
    assert locate("kept", BALLE) == str(home / "kept")
    assert locate(str(home / "kept/model.safetensors"), BALLE) == str(home / "kept/model.safetensors")


def test_what_is_not_there_is_one_line_that_says_what_to_do(home):
    for name, error, words in (
        ("data/04_models/model", TrainingError, "name a copy of a model folder"),
        ("models:/balle-li@champion", TrackingError, "is not in the registry"),
    ):
        with pytest.raises(error, match=words) as caught:
            locate(name, BALLE)
        assert "\n" not in str(caught.value)


def test_released_weights_where_they_fit_the_model(home):
    model = read_json(RELEASED_MODEL / "model.json")["model"]
    assert locate("released", model) == str(RELEASED_MODEL)
    assert (RELEASED_MODEL / "model.safetensors").is_file()
    assert locate("released", model | {"name": "balle"}) is None
    assert locate("released", model | {"N": model["N"] + 1}) is None
