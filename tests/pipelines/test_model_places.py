import pytest
from tiny_model import tiny_model_folder

from balle_li.errors import TrackingError
from balle_li.files import RELEASED_MODEL
from pipelines.model_places import located


def test_the_released_model_folders_and_versions(home):
    kept = tiny_model_folder(home / "kept")
    assert located("released") == RELEASED_MODEL and located("kept") == located(str(kept)) == kept
    with pytest.raises(TrackingError, match="is not in the registry"):
        located("models:/balle-li@champion")
