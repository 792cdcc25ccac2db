import math

import numpy as np
import pytest

from balle_li.boxes import Box
from balle_li.evaluation import metrics


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:192, 0:200]
    waves = 128 + 60 * np.sin(rows / 5)[..., None] + 40 * np.cos(columns[..., None] / np.array([4.0, 7.0, 11.0]))
    return waves.clip(0, 255).astype(np.uint8)


def test_psnr_of_a_known_error(picture: np.ndarray) -> None:
    quality = metrics.measure(picture, picture - 5, [], {})
    assert quality.mse == pytest.approx(25)
    assert quality.psnr == pytest.approx(20 * math.log10(255 / 5))


def test_equal_pictures_have_finite_figures(picture: np.ndarray) -> None:
    quality = metrics.measure(picture, picture, [], {})
    assert quality.psnr == quality.ms_ssim_db == metrics.CEILING_DB
    assert quality.ms_ssim == pytest.approx(1)


def test_ms_ssim_falls_with_noise_and_its_decibels_follow(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 20, picture.shape)
    quality = metrics.measure(picture, (picture + noise).clip(0, 255).astype(np.uint8), [], {})
    assert quality.ms_ssim is not None and 0.5 < quality.ms_ssim < 0.99
    assert quality.ms_ssim_db == pytest.approx(-10 * math.log10(1 - quality.ms_ssim))


@pytest.mark.parametrize(("side", "defined"), [(160, False), (161, True)])
def test_ms_ssim_of_small_pictures(side: int, defined: bool) -> None:
    flat = np.full((300, side, 3), 100, np.uint8)
    assert (metrics.ms_ssim(flat, flat) is not None) == defined


def test_inside_and_outside_boxes(picture: np.ndarray) -> None:
    damaged = picture.copy()
    damaged[:, :100] -= 10  # the left half
    quality = metrics.measure(picture, damaged, [Box(0, 0, 0.5, 1, "Cat")], {})
    assert quality.psnr_inside == pytest.approx(metrics.psnr_of(100))
    assert quality.psnr_outside == metrics.CEILING_DB
    assert quality.psnr_by_class == {"Cat": quality.psnr_inside}


def test_a_pixel_counts_by_how_much_of_it_a_box_covers() -> None:
    original = np.zeros((1, 4, 3), np.uint8)
    decoded = original.copy()
    decoded[0, 1] = 8  # half covered: inside weighs it 0.5 of 1.5, outside 0.5 of 2.5
    quality = metrics.measure(original, decoded, [Box(0, 0, 0.375, 1, "Cat")], {})
    assert quality.psnr_inside == pytest.approx(metrics.psnr_of(64 / 3))
    assert quality.psnr_outside == pytest.approx(metrics.psnr_of(64 / 5))


def test_class_weights_count_inside_but_not_outside_nor_by_class() -> None:
    original = np.zeros((1, 4, 3), np.uint8)
    decoded = original.copy()
    decoded[0, 0] = 10
    boxes = [Box(0, 0, 0.25, 1, "Cat"), Box(0.25, 0, 0.5, 1, "Dog")]
    quality = metrics.measure(original, decoded, boxes, {"Cat": 3.0})
    assert quality.psnr_inside == pytest.approx(metrics.psnr_of(75))
    assert quality.psnr_outside == metrics.CEILING_DB
    assert quality.psnr_by_class == {"Cat": pytest.approx(metrics.psnr_of(100)), "Dog": metrics.CEILING_DB}


def test_no_boxes_and_boxes_over_everything_leave_a_side_undefined(picture: np.ndarray) -> None:
    assert metrics.measure(picture, picture, [], {}).psnr_inside is None
    assert metrics.measure(picture, picture, [Box(0, 0, 1, 1, "Cat")], {}).psnr_outside is None
    assert metrics.measure(picture, picture, [Box(0, 0, 1, 1, "Cat")], {"Cat": 0.0}).psnr_inside is None


def test_pictures_of_different_sizes_cannot_be_compared(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        metrics.measure(picture, picture[:-1], [], {})


def test_bits_per_pixel() -> None:
    assert metrics.bits_per_pixel(1000, 100, 80) == 1.0
