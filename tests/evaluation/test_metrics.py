import math

import numpy as np
import pytest

from balle_li.boxes import Box
from balle_li.errors import ConfigError
from balle_li.evaluation import metrics
from balle_li.evaluation.metrics import METRICS, MetricFacts, Pair, Regions, psnr_of

NAMES = ["psnr", "ms_ssim"]


def measure(original, decoded, boxes=(), weights=None):
    return metrics.measure(Pair(original, decoded), NAMES, Regions.of(boxes, weights or {}, *original.shape[:2]))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:192, 0:200]
    waves = 128 + 60 * np.sin(rows / 5)[..., None] + 40 * np.cos(columns[..., None] / np.array([4.0, 7.0, 11.0]))
    return waves.clip(0, 255).astype(np.uint8)


def test_psnr_of_a_known_error(picture: np.ndarray) -> None:
    figures = measure(picture, picture - 5)
    assert figures["mse"] == pytest.approx(25) and figures["exact"] is False
    assert figures["psnr"] == pytest.approx(20 * math.log10(255 / 5))


def test_an_exact_reproduction_is_said_and_has_no_figure_in_decibels(picture: np.ndarray) -> None:
    figures = measure(picture, picture)
    assert figures["exact"] is True and figures["mse"] == 0
    assert figures["psnr"] is None and figures["ms_ssim_db"] is None
    assert figures["ms_ssim"] == pytest.approx(1)


def test_ms_ssim_falls_with_noise_and_its_decibels_follow(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 20, picture.shape)
    figures = measure(picture, (picture + noise).clip(0, 255).astype(np.uint8))
    assert 0.5 < figures["ms_ssim"] < 0.99
    assert figures["ms_ssim_db"] == pytest.approx(-10 * math.log10(1 - figures["ms_ssim"]))


@pytest.mark.parametrize(("side", "defined"), [(160, False), (161, True)])
def test_ms_ssim_of_small_pictures(side: int, defined: bool) -> None:
    flat = np.full((300, side, 3), 100, np.uint8)
    assert (metrics.ms_ssim(flat, flat) is not None) == (measure(flat, flat)["ms_ssim"] is not None) == defined


def test_inside_and_outside_boxes(picture: np.ndarray) -> None:
    damaged = picture.copy()
    damaged[:, :100] -= 10  # the left half
    figures = measure(picture, damaged, [Box(0, 0, 0.5, 1, "Cat")])
    assert figures["psnr_inside"] == pytest.approx(psnr_of(100))
    assert figures["psnr_outside"] is None, "exact there"
    assert figures["psnr_by_class"] == [{"label": "Cat", "value": pytest.approx(psnr_of(100))}]


def test_a_pixel_counts_by_how_much_of_it_a_box_covers() -> None:
    original = np.zeros((1, 4, 3), np.uint8)
    decoded = original.copy()
    decoded[0, 1] = 8  # half covered: inside weighs it 0.5 of 1.5, outside 0.5 of 2.5
    figures = measure(original, decoded, [Box(0, 0, 0.375, 1, "Cat")])
    assert figures["psnr_inside"] == pytest.approx(psnr_of(64 / 3))
    assert figures["psnr_outside"] == pytest.approx(psnr_of(64 / 5))


def test_class_weights_count_inside_but_not_by_class() -> None:
    original = np.zeros((1, 4, 3), np.uint8)
    decoded = original.copy()
    decoded[0, 0] = 10
    boxes = [Box(0, 0, 0.25, 1, "Cat"), Box(0.25, 0, 0.5, 1, "Dog")]
    figures = measure(original, decoded, boxes, {"Cat": 3.0})
    assert figures["psnr_inside"] == pytest.approx(psnr_of(75))
    assert figures["psnr_by_class"] == [{"label": "Cat", "value": pytest.approx(psnr_of(100))}]


def test_no_boxes_and_boxes_over_everything_leave_a_side_undefined(picture: np.ndarray) -> None:
    other = picture - 1
    assert measure(picture, other)["psnr_inside"] is None
    assert measure(picture, other, [Box(0, 0, 1, 1, "Cat")])["psnr_outside"] is None
    assert measure(picture, other, [Box(0, 0, 1, 1, "Cat")], {"Cat": 0.0})["psnr_inside"] is None


def test_pictures_of_different_sizes_cannot_be_compared(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        Pair(picture, picture[:-1])


def test_facts_say_which_columns_there_are() -> None:
    psnr, ms_ssim = metrics.all_facts(NAMES)
    assert psnr.columns == ["psnr", "psnr_inside", "psnr_outside"] and psnr.curve == "psnr"
    assert ms_ssim.columns == ["ms_ssim", "ms_ssim_db"] and (ms_ssim.curve, ms_ssim.curve_unit) == ("ms_ssim_db", "dB")
    assert psnr.show(31.254) == "31.25 dB" and ms_ssim.show(0.5) == "0.5000" and psnr.show(None) == "–"


def test_a_curve_is_named_by_its_metric_or_its_column() -> None:
    assert metrics.facts_of_curve("ms_ssim") == metrics.facts_of_curve("ms_ssim_db") == MetricFacts.of("ms_ssim")
    for name in ("psnr_db", "ms-ssim"):
        with pytest.raises(ConfigError):
            metrics.facts_of_curve(name)


def test_what_is_no_metric_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "get", lambda name: print)
    with pytest.raises(ConfigError, match="metric 'print' is no subclass of"):
        MetricFacts.of("print")
