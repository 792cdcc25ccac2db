import pytest
from tiny_model import tiny_model_folder

from balle_li.errors import TrackingError
from balle_li.files import released_model
from pipelines.model_places import located


def test_the_released_model_folders_and_versions(home):
    kept = tiny_model_folder(home / "kept")
    assert [located("released", tune) for tune in ("psnr", "ms-ssim")] == [released_model("psnr"), released_model()]
    assert located("kept", "psnr") == located(str(kept), "psnr") == kept
    with pytest.raises(TrackingError, match="is not in the registry"):
        located("models:/balle-li@champion", "psnr")
