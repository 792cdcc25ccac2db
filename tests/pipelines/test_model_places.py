import pytest
from tiny_model import tiny_model_folder

from balle_li.errors import TrackingError
from balle_li.files import RELEASED_MODEL
from pipelines.model_places import located


def test_the_released_model_folders_and_versions(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    kept = tiny_model_folder(tmp_path / "kept")
    assert located("released") == RELEASED_MODEL and located("kept") == located(str(kept)) == kept
    with pytest.raises(TrackingError, match="is not in the registry"):
        located("models:/balle-li@champion")
