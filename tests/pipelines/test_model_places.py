import pytest
from tiny_model import tiny_model_folder

from balle_li.errors import ConfigError, TrackingError
from balle_li.files import RELEASED_MODEL
from pipelines.model_places import baselines, located


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_released_model_and_folders(home):
    kept = tiny_model_folder(home / "kept")
    assert located("released") == RELEASED_MODEL and located("kept") == located(str(kept)) == kept
    assert baselines(["released", "kept"]) == {"released": RELEASED_MODEL, "kept": kept}


def test_what_holds_no_model_is_one_line_that_names_the_parameter(home):
    (home / "empty").mkdir()
    for place in ("empty", "missing"):
        with pytest.raises(ConfigError, match=f"evaluate.baselines: {place} is no model folder") as caught:
            baselines([place])
        assert "\n" not in str(caught.value)
    with pytest.raises(TrackingError, match="is not in the registry"):
        baselines(["models:/balle-li@champion"])
