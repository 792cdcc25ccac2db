import json
import math
from pathlib import Path

import pytest
from evaluation.measurements import measurement
from PIL import Image

from balle_li.evaluation.curves import mean_curve, mean_of
from balle_li.evaluation.rd_plot import plot_rd

JPEG = [
    measurement("a", "jpeg", "quality 80", 1.6, 34.0, 0.98),
    measurement("a", "jpeg", "quality 10", 0.4, 28.0, 0.90),
    measurement("b", "jpeg", "quality 80", 2.4, 36.0, 0.96),
    measurement("b", "jpeg", "quality 10", 0.8, 30.0, None),
]


def test_mean_over_pictures_by_setting_and_rising_rate() -> None:
    curve = mean_curve("jpeg", [*JPEG, measurement("a", "webp", "quality 10", 0.1, 20.0)])
    assert [point.setting for point in curve.points] == ["quality 10", "quality 80"]
    assert curve.values("psnr") == [(pytest.approx(0.6), 29.0), (pytest.approx(2.0), 35.0)]
    assert curve.points[0].ms_ssim == 0.90  # b is too small to have one
    assert curve.points[1].ms_ssim == pytest.approx(0.97)
    assert curve.points[1].ms_ssim_db == pytest.approx(-10 * math.log10(0.03))
    assert curve.points[0].compression_ratio == pytest.approx((24 / 0.4 + 24 / 0.8) / 2)


def test_a_metric_that_no_picture_has_is_missing() -> None:
    curve = mean_curve("jpeg", JPEG)
    assert curve.values("psnr_inside") == [] and curve.quality_at(1.0, "psnr_inside") is None
    assert mean_of([None, None]) is None


def test_between_the_points_it_interpolates_over_the_logarithm_of_the_rate() -> None:
    curve = mean_curve("jpeg", JPEG)
    middle = math.sqrt(0.6 * 2.0)
    assert curve.quality_at(middle, "psnr") == pytest.approx(32)
    assert curve.bpp_at(32, "psnr") == pytest.approx(middle)
    assert curve.quality_at(0.59, "psnr") is None and curve.quality_at(2.01, "psnr") is None
    assert curve.bpp_at(28.9, "psnr") is None


def test_records_are_plain_json() -> None:
    (first, _) = json.loads(json.dumps(mean_curve("jpeg", JPEG).records()))
    assert first["codec"] == "jpeg" and first["bpp"] == pytest.approx(0.6) and first["psnr_inside"] is None


def test_plot_takes_any_number_of_models_and_codecs(tmp_path: Path) -> None:
    model = mean_curve("balle", [measurement("a", "balle", "N=8", 0.5, 30.0)])
    other = mean_curve("balle-li", [measurement("a", "balle-li", "N=8", 0.6, 31.0, None)])
    path = tmp_path / "rd.png"
    plot_rd([model, other], [mean_curve("jpeg", JPEG)], {"jpeg": "JPEG"}, "Two models", ["A note. " * 40], path)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1000
    assert list(tmp_path.iterdir()) == [path]
