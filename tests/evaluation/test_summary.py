import json
from typing import Any

import pytest
from evaluation.measurements import measurement

from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.model_under_test import PictureResult
from balle_li.evaluation.summary import JpegComparison
from balle_li.evaluation.summary import summarise as summarise_results

LMBDA = 0.01


def _jpeg(image_id: str, better_by: float = 0.0) -> list[Measurement]:
    points = [(0.2, 24.0, 0.80), (0.8, 30.0, 0.94), (3.2, 36.0, 0.98)]
    return [
        measurement(image_id, "jpeg", f"quality {bpp}", bpp, psnr + better_by, similarity, psnr, {"Cat": psnr - 1})
        for bpp, psnr, similarity in points
    ]


def summarise(model: list[Measurement], jpeg: list[Measurement], lmbda: float, test_set: str) -> dict[str, Any]:
    return summarise_results([PictureResult(own, (own,), None) for own in model], jpeg, lmbda, test_set)


def _model(image_id: str, psnr: float = 31.0, bpp: float = 0.8) -> Measurement:
    return measurement(image_id, "balle", "N=8", bpp, psnr, 0.96, psnr + 1, {"Cat": psnr})


def test_means_and_cost() -> None:
    metrics = summarise([_model("a"), _model("b", psnr=29.0, bpp=0.4)], _jpeg("a") + _jpeg("b"), LMBDA, "set")
    model = metrics["model"]
    assert model["bpp"] == pytest.approx(0.6) and model["psnr"] == 30.0
    assert model["compression_ratio"] == pytest.approx((30 + 60) / 2)
    assert (model["encode_ms"], model["decode_ms"]) == (pytest.approx(10), pytest.approx(20))
    cost = [LMBDA * 255**2 / 10 ** (psnr / 10) + bpp for psnr, bpp in ((31.0, 0.8), (29.0, 0.4))]
    assert model["rd_cost"] == pytest.approx(sum(cost) / 2)
    assert metrics["test_set"] == "set"
    assert metrics["counts"] == {"pictures": 2, "pictures_with_boxes": 2, "pictures_without_ms_ssim": 0, "classes": 1}
    json.dumps(metrics, allow_nan=False)


def test_jpeg_at_equal_rate_and_equal_quality() -> None:
    jpeg = summarise([_model("a")], _jpeg("a"), LMBDA, "set")["jpeg"]
    assert jpeg["at_equal_bpp"]["psnr"] == pytest.approx(30) and jpeg["at_equal_bpp"]["ms_ssim"] == pytest.approx(0.94)
    rate = 0.8 * 4 ** (1 / 6)  # a sixth of the way from 30 to 36 dB, over the logarithm of the rate
    assert jpeg["at_equal_psnr"]["bpp"] == pytest.approx(rate)
    assert jpeg["at_equal_psnr"]["bits_saved"] == pytest.approx(100 * (1 - 0.8 / rate))


def test_verdict_names_the_pictures_where_jpeg_is_better() -> None:
    comparison = JpegComparison.of([_model("a"), _model("b")], _jpeg("a") + _jpeg("b", better_by=1.5))
    words = " ".join(comparison.verdict())
    assert "PSNR at 0.800 bpp: model 31.00 dB, JPEG 30.75 dB; the model is better" in words
    assert "By PSNR JPEG is better on 1 of 2 pictures whose rate JPEG reaches: b." in words
    assert "By MS-SSIM JPEG is better on none of 2 pictures" in words
    assert comparison.record()["pictures_where_jpeg_is_better"] == {"psnr": 1, "ms_ssim": 0}


def test_verdict_when_jpeg_wins() -> None:
    (first, *_) = JpegComparison.of([_model("a", psnr=29.0)], _jpeg("a")).verdict()
    assert "JPEG is better" in first and "% more bits" in first


def test_rates_that_jpeg_does_not_reach_are_said_not_guessed() -> None:
    metrics = summarise([_model("a", bpp=0.1)], _jpeg("a"), LMBDA, "set")
    assert metrics["jpeg"]["at_equal_bpp"]["psnr"] is None
    assert "JPEG was measured from 0.200 to 3.200 bpp and the model needs 0.100 bpp" in metrics["jpeg"]["verdict"][0]


def test_per_class_beside_jpeg_at_each_pictures_rate() -> None:
    assert summarise([_model("a")], _jpeg("a"), LMBDA, "set")["per_class"] == [
        {"label": "Cat", "pictures": 1, "psnr": 31.0, "jpeg_psnr_at_equal_bpp": pytest.approx(29.0)}
    ]


def test_without_boxes_and_ms_ssim() -> None:
    own = measurement("a", "balle", "N=8", 0.8, 31.0, None)
    jpeg = [measurement("a", "jpeg", str(bpp), bpp, 30.0 + bpp, None) for bpp in (0.4, 1.2)]
    metrics = summarise([own], jpeg, LMBDA, "set")
    assert metrics["model"]["ms_ssim"] is metrics["model"]["psnr_inside"] is None
    assert metrics["jpeg"]["at_equal_ms_ssim"] == {"bpp": None, "bits_saved": None}
    assert any("not defined for pictures this small" in sentence for sentence in metrics["jpeg"]["verdict"])


def test_a_curve_has_a_bd_rate_against_jpeg() -> None:
    points = [(0.1, 24.0, 0.80), (0.4, 30.0, 0.94), (1.6, 36.0, 0.98)]
    curve = tuple(measurement("a", "roi", f"quality {bpp}", bpp, psnr, same) for bpp, psnr, same in points)
    metrics = summarise_results([PictureResult(curve[1], curve, None)], _jpeg("a"), LMBDA, "set")
    for metric in ("psnr", "ms_ssim"):
        found = metrics["bd_rate"][metric]
        assert found["percent"] == pytest.approx(-50) and found["overlap"] == pytest.approx(1)
        assert found["warning"] is None
    assert metrics["model"]["bpp"] == 0.4
    assert "bd_rate" not in summarise([_model("a")], _jpeg("a"), LMBDA, "set")


def test_curves_that_hardly_overlap_carry_a_warning() -> None:
    curve = tuple(measurement("a", "roi", f"quality {psnr}", 2 * (psnr - 30), psnr) for psnr in (34.0, 46.0))
    found = summarise_results([PictureResult(curve[0], curve, None)], _jpeg("a"), LMBDA, "set")["bd_rate"]["psnr"]
    assert found["percent"] is not None and "share only" in found["warning"]
