import json
import math
from pathlib import Path

import pytest
from evaluation.measurements import FACTS, measurement, table
from PIL import Image

from balle_li.comparison.curves import RdCurve, bd_rate_by, mean_curves
from balle_li.comparison.plots import plot_rd, style
from balle_li.evaluation.measurements import HEADLINE, to_frame

JPEG = [
    measurement("a", "jpeg", "quality 80", 1.6, 34.0, 0.98),
    measurement("a", "jpeg", "quality 10", 0.4, 28.0, 0.90),
    measurement("b", "jpeg", "quality 80", 2.4, 36.0, 0.96),
    measurement("b", "jpeg", "quality 10", 0.8, 30.0, None),
]


@pytest.fixture
def jpeg() -> RdCurve:
    return mean_curves(to_frame([*JPEG, measurement("a", "webp", "quality 10", 0.1, 20.0)]), FACTS)["jpeg"]


def test_mean_over_pictures_by_setting_and_rising_rate(jpeg: RdCurve) -> None:
    assert list(jpeg.points["setting"]) == ["quality 10", "quality 80"]
    assert jpeg.values("psnr") == [(pytest.approx(0.6), 29.0), (pytest.approx(2.0), 35.0)]
    assert jpeg.points["ms_ssim"][0] == 0.90  # b is too small to have one
    assert jpeg.points["ms_ssim"][1] == pytest.approx(0.97)
    assert jpeg.points["ms_ssim_db"][1] == pytest.approx(-10 * math.log10(0.03))
    assert jpeg.points["compression_ratio"][0] == pytest.approx((24 / 0.4 + 24 / 0.8) / 2)


def test_a_metric_that_no_picture_has_is_missing(jpeg: RdCurve) -> None:
    assert jpeg.values("psnr_inside") == [] and jpeg.quality_at(1.0, "psnr_inside") is None
    assert jpeg.values("unheard of") == []


def test_between_the_points_it_interpolates_over_the_logarithm_of_the_rate(jpeg: RdCurve) -> None:
    middle = math.sqrt(0.6 * 2.0)
    assert jpeg.quality_at(middle, "psnr") == pytest.approx(32)
    assert jpeg.bpp_at(32, "psnr") == pytest.approx(middle)
    assert jpeg.quality_at(0.59, "psnr") is None and jpeg.quality_at(2.01, "psnr") is None
    assert jpeg.bpp_at(28.9, "psnr") is None


def test_records_are_plain_json_and_come_back(jpeg: RdCurve) -> None:
    records = json.loads(json.dumps(jpeg.records(), allow_nan=False))
    assert (
        records[0]["codec"] == "jpeg" and records[0]["bpp"] == pytest.approx(0.6) and records[0]["psnr_inside"] is None
    )
    assert RdCurve.of("jpeg", records).points.equals(jpeg.points)


def test_less_is_better_turns_the_bd_rate_round() -> None:
    from dataclasses import replace

    distance = replace(FACTS[0], name="distance", higher_is_better=False)
    points = [(0.2, 0.4), (0.4, 0.3), (0.8, 0.2), (1.6, 0.1)]
    anchor = RdCurve.of("a", [{"setting": str(bpp), "bpp": bpp, "distance": value} for bpp, value in points])
    test = RdCurve.of("b", [{"setting": str(bpp), "bpp": bpp / 2, "distance": value} for bpp, value in points])
    assert bd_rate_by(distance, anchor, test).percent == pytest.approx(-50)
    assert bd_rate_by(replace(distance, rate_distortion=False), anchor, test).percent is None


def test_plot_takes_any_number_of_models_and_codecs(tmp_path: Path, jpeg: RdCurve) -> None:
    rows = [measurement("a", "balle", "N=8", 0.5, 30.0), measurement("a", "balle-li", "N=8", 0.6, 31.0, None)]
    models = list(mean_curves(table([row | {"kind": HEADLINE} for row in rows]), FACTS).values())
    path = tmp_path / "rd.png"
    plot_rd(models, [jpeg], {"jpeg": "JPEG"}, FACTS, "Two models", ["A note. " * 40], path)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1000
    assert list(tmp_path.iterdir()) == [path]


def test_twenty_models_look_different() -> None:
    looks = [style(index) for index in range(20)]
    assert len(set(looks)) == 20 and len({look.colour for look in looks[:10]}) == 10
    assert len({(look.colour, look.mark) for look in looks}) == 20, "told apart where there is no line, too"
