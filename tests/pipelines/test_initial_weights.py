import pytest

from balle_li.errors import TrackingError, TrainingError
from balle_li.files import TUNES, read_json, released_model
from pipelines.train.initial_weights import locate

BALLE = {"name": "balle", "N": 8}


def test_nothing_a_folder_and_a_file(home):
    (home / "kept").mkdir()
    (home / "kept" / "model.safetensors").touch()
    assert locate(None, BALLE, "psnr") is None
    assert locate("kept", BALLE, "psnr") == str(home / "kept")
    assert locate(str(home / "kept/model.safetensors"), BALLE, "psnr") == str(home / "kept/model.safetensors")


def test_what_is_not_there_is_one_line_that_says_what_to_do(home):
    for name, error, words in (
        ("data/04_models/model", TrainingError, "name a copy of a model folder"),
        ("models:/balle-li@champion", TrackingError, "is not in the registry"),
    ):
        with pytest.raises(error, match=words) as caught:
            locate(name, BALLE, "psnr")
        assert "\n" not in str(caught.value)


def test_released_weights_where_they_fit_the_model(home):
    for tune in TUNES:
        model = read_json(released_model(tune) / "model.json")["model"]
        assert locate("released", model, tune) == str(released_model(tune))
        assert (released_model(tune) / "model.safetensors").is_file()
        assert locate("released", model | {"levels": 5}, tune) == str(released_model(tune))  # the default
        assert locate("released", model | {"levels": 4}, tune) is None
        assert locate("released", model | {"name": "balle"}, tune) is None
        assert locate("released", model | {"N": model["N"] + 1}, tune) is None
