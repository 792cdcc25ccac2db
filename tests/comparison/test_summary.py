import json
from typing import Any

import pytest
from evaluation.measurements import measurement, summarise

from balle_li.comparison.summary import logged_metrics, short_metrics
from balle_li.evaluation.measurements import HEADLINE, OTHER_QUALITY, WITH_BOXES

LMBDA = 0.01


def _jpeg(image_id: str, better_by: float = 0.0) -> list[dict[str, Any]]:
    points = [(0.2, 24.0, 0.80), (0.8, 30.0, 0.94), (3.2, 36.0, 0.98)]
    return [
        measurement(image_id, "jpeg", f"quality {bpp}", bpp, psnr + better_by, similarity, psnr, {"Cat": psnr - 1})
        for bpp, psnr, similarity in points
    ]


def _model(image_id: str, psnr: float = 31.0, bpp: float = 0.8) -> list[dict[str, Any]]:
    return [measurement(image_id, "balle", "N=8", bpp, psnr, 0.96, psnr + 1, {"Cat": psnr}, HEADLINE)]


def _blank(image_id: str) -> list[dict[str, Any]]:
    """A page that JPEG reproduces exactly and the model does not."""
    rows = [measurement(image_id, "jpeg", f"quality {bpp}", 0.01, None, 1.0) for bpp in (0.2, 0.8, 3.2)]
    return [*rows, measurement(image_id, "balle", "N=8", 0.02, 60.0, 0.99999, kind=HEADLINE)]


def test_means_and_cost() -> None:
    metrics = summarise(_model("a") + _model("b", psnr=29.0, bpp=0.4) + _jpeg("a") + _jpeg("b"), LMBDA)
    model = metrics["model"]
    assert model["bpp"] == pytest.approx(0.6) and model["psnr"] == 30.0
    assert model["compression_ratio"] == pytest.approx((30 + 60) / 2)
    assert (model["encode_ms"], model["decode_ms"]) == (pytest.approx(10), pytest.approx(20))
    cost = [LMBDA * 255**2 / 10 ** (psnr / 10) + bpp for psnr, bpp in ((31.0, 0.8), (29.0, 0.4))]
    assert model["rd_cost"] == pytest.approx(sum(cost) / 2)
    assert metrics["test_set"] == "set"
    assert metrics["counts"] == {
        "pictures": 2, "pictures_with_boxes": 2, "pictures_without_psnr": 0, "pictures_without_ms_ssim": 0,
        "pictures_apart": 0, "exact": 0,
    }  # fmt: skip
    json.dumps(metrics, allow_nan=False)


def test_jpeg_at_equal_rate_and_equal_quality() -> None:
    jpeg = summarise(_model("a") + _jpeg("a"))["jpeg"]
    assert jpeg["at_equal_bpp"]["psnr"] == pytest.approx(30) and jpeg["at_equal_bpp"]["ms_ssim"] == pytest.approx(0.94)
    rate = 0.8 * 4 ** (1 / 6)  # a sixth of the way from 30 to 36 dB, over the logarithm of the rate
    assert jpeg["at_equal_psnr"]["bpp"] == pytest.approx(rate)
    assert jpeg["at_equal_psnr"]["bits_saved"] == pytest.approx(100 * (1 - 0.8 / rate))


def test_verdict_names_the_pictures_where_jpeg_is_better() -> None:
    jpeg = summarise(_model("a") + _model("b") + _jpeg("a") + _jpeg("b", better_by=1.5))["jpeg"]
    words = " ".join(jpeg["verdict"])
    assert "PSNR at 0.800 bpp: model 31.00 dB, JPEG 30.75 dB; the model is better" in words
    assert "By PSNR JPEG is better on 1 of 2 pictures whose rate JPEG reaches: b." in words
    assert "By MS-SSIM JPEG is better on none of 2 pictures" in words
    assert jpeg["pictures_where_jpeg_is_better"] == {"psnr": 1, "ms_ssim": 0}


def test_verdict_when_jpeg_wins() -> None:
    first = summarise(_model("a", psnr=29.0) + _jpeg("a"))["jpeg"]["verdict"][0]
    assert "JPEG is better" in first and "% more bits" in first


def test_rates_that_jpeg_does_not_reach_are_said_not_guessed() -> None:
    metrics = summarise(_model("a", bpp=0.1) + _jpeg("a"))
    assert metrics["jpeg"]["at_equal_bpp"]["psnr"] is None
    assert "JPEG was measured from 0.200 to 3.200 bpp and the model needs 0.100 bpp" in metrics["jpeg"]["verdict"][0]


def test_per_class_with_jpeg_at_each_pictures_rate() -> None:
    assert summarise(_model("a") + _jpeg("a"))["per_class"] == [
        {"label": "Cat", "pictures": 1, "psnr": 31.0, "jpeg_psnr_at_equal_bpp": pytest.approx(29.0)}
    ]


def test_without_boxes_and_ms_ssim() -> None:
    own = measurement("a", "balle", "N=8", 0.8, 31.0, None, kind=HEADLINE)
    metrics = summarise([own, *(measurement("a", "jpeg", str(bpp), bpp, 30.0 + bpp, None) for bpp in (0.4, 1.2))])
    assert metrics["model"]["ms_ssim"] is metrics["model"]["psnr_inside"] is None
    assert metrics["jpeg"]["at_equal_ms_ssim"] == {"bpp": None, "bits_saved": None}
    assert metrics["per_class"] == [] and "with_boxes" not in metrics
    assert any("needs 161 pixels a side" in sentence for sentence in metrics["jpeg"]["verdict"])


def _curve(image_id: str, points: list[tuple[float, float, float]]) -> list[dict[str, Any]]:
    kinds = [HEADLINE if index == 1 else OTHER_QUALITY for index in range(len(points))]
    return [
        measurement(image_id, "roi", f"quality {index}", bpp, psnr, same, kind=kind)
        for index, ((bpp, psnr, same), kind) in enumerate(zip(points, kinds, strict=True))
    ]


def test_a_curve_has_a_bd_rate_against_jpeg() -> None:
    metrics = summarise(_curve("a", [(0.1, 24.0, 0.80), (0.4, 30.0, 0.94), (1.6, 36.0, 0.98)]) + _jpeg("a"))
    for metric in ("psnr", "ms_ssim"):
        found = metrics["bd_rate"][metric]
        assert found["percent"] == pytest.approx(-50) and found["overlap"] == pytest.approx(1)
        assert found["warning"] is None
    assert metrics["model"]["bpp"] == 0.4
    assert "bd_rate" not in summarise(_model("a") + _jpeg("a"))


def test_curves_that_hardly_overlap_carry_a_warning() -> None:
    found = summarise(_curve("a", [(8.0, 34.0, 0.9), (32.0, 46.0, 0.95)]) + _jpeg("a"))["bd_rate"]["psnr"]
    assert found["percent"] is not None and "share only" in found["warning"]


def test_a_blank_page_decides_nothing_and_is_said() -> None:
    photos = _model("a", psnr=29.0) + _model("b", psnr=29.0) + _jpeg("a") + _jpeg("b")
    without, with_blank = summarise(photos), summarise(photos + _blank("blank"))
    assert with_blank["model"] == without["model"]
    for part in ("at_equal_bpp", "at_equal_psnr", "at_equal_ms_ssim", "pictures_where_jpeg_is_better"):
        assert with_blank["jpeg"][part] == without["jpeg"][part]
    assert with_blank["jpeg"]["verdict"][:-1] == without["jpeg"]["verdict"]
    assert (
        "1 picture is reproduced exactly" in with_blank["jpeg"]["verdict"][-1]
        and "blank" in with_blank["jpeg"]["verdict"][-1]
    )
    assert with_blank["counts"]["pictures"] == 2
    assert (with_blank["counts"]["exact"], with_blank["counts"]["pictures_apart"]) == (1, 1)


def test_nothing_but_blank_pages_is_summarised_without_a_psnr() -> None:
    rows = [
        row | ({"psnr": None, "mse": 0.0, "exact": True} if row["codec"] == "balle" else {}) for row in _blank("blank")
    ]
    metrics = summarise(rows)
    assert metrics["model"]["psnr"] is None and metrics["model"]["bpp"] == pytest.approx(0.02)
    json.dumps(metrics, allow_nan=False)


def test_a_picture_that_a_codec_cannot_take_is_in_no_mean() -> None:
    rows = [row for name in "abcd" for row in _model(name) + _jpeg(name)]
    rows += [measurement(name, "webp", "quality 1", 0.5, 30.0) for name in "abc"]
    left_out = {"webp": {"pictures": ["d"], "reason": "WebP holds at most 16,383 pixels a side"}}
    metrics = summarise(rows + _model("e", psnr=50.0), left_out=left_out)
    assert metrics["counts"]["pictures"] == 3 and metrics["model"]["psnr"] == 31.0
    assert "webp cannot take d (WebP holds at most 16,383 pixels a side)" in metrics["jpeg"]["verdict"][-1]


def test_what_boxes_bring_at_equal_size() -> None:
    given = measurement("a", "balle with boxes", "N=8, boxes", 0.8, 30.0, 0.96, 34.0, kind=WITH_BOXES)
    found = summarise([*_model("a"), given, *_jpeg("a")])["with_boxes"]
    assert found == {
        "pictures": 1, "metric": "psnr", "gain_inside": pytest.approx(2.0), "loss_outside": pytest.approx(-2.0),
        "bytes_ratio": 1.0,
    }  # fmt: skip


def test_short_and_logged_metrics_name_every_metric() -> None:
    metrics = summarise(_curve("a", [(0.1, 24.0, 0.80), (0.4, 30.0, 0.94), (1.6, 36.0, 0.98)]) + _jpeg("a"))
    metrics["sets"] = {"kodak": metrics}
    short, logged = short_metrics(metrics), logged_metrics(metrics)
    assert short["bd_psnr"] == pytest.approx(-50) and len(short) <= 12
    assert {"psnr", "ms_ssim", "saved_psnr", "saved_ms_ssim", "bd_ms_ssim"} <= set(short)
    assert short["saved_psnr"] is None, "the BD-rate says it"
    one_rate = short_metrics(summarise([*_model("a"), *_jpeg("a")]))
    assert one_rate["saved_psnr"] is not None and one_rate["bd_psnr"] is None
    assert logged["test/psnr"] == 30.0 and logged["kodak/bd_rate_psnr"] == pytest.approx(-50)
    assert logged["test/jpeg_ms_ssim"] == pytest.approx(0.87, abs=0.01) and "test/psnr_inside" not in logged
