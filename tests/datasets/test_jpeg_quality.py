"""The quality that a JPEG was written at is read back from its header."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from balle_li.datasets.jpeg_quality import estimate_quality, read_jpeg_quality


@pytest.mark.parametrize("quality", [2, 10, 49, 50, 51, 75, 90, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_of_a_jpeg_file(tmp_path: Path, quality: int, mode: str) -> None:
    Image.new(mode, (16, 16)).save(tmp_path / "picture.jpg", quality=quality)
    assert read_jpeg_quality(tmp_path / "picture.jpg") == quality


def test_other_formats_have_none(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "picture.png")
    assert read_jpeg_quality(tmp_path / "picture.png") is None


def test_a_foreign_table_is_as_coarse_as_its_steps() -> None:
    fine, coarse = estimate_quality([2] * 64), estimate_quality([60] * 64)
    assert fine > 90 and coarse < 60
    assert np.all(np.diff([estimate_quality([step] * 64) for step in range(1, 255)]) <= 0)
