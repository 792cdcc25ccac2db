import zlib

import numpy as np
import pytest

from balle_li.boxes import Box
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.quality_map import (
    LIMIT,
    STEPS,
    box_offset,
    pack_levels,
    quality_to_r,
    r_to_quality,
    stretched,
    to_levels,
    unpack_levels,
)


def test_quality_spans_r():
    assert [quality_to_r(quality) for quality in (0, 50, 75, 100)] == [-2.0, 0.0, 1.0, 2.0]
    assert [r_to_quality(r) for r in (-2.0, 1.0, 2.5)] == [0.0, 75.0, 112.5]


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan")])
def test_no_other_quality(quality):
    with pytest.raises(BalleLiError, match="between 0 and 100"):
        quality_to_r(quality)


def test_levels_are_the_nearest_and_bounded():
    levels = to_levels(np.array([0.0, 0.06, 0.07, -0.5, 9.0, -9.0]))
    assert levels.tolist() == [0, 0, 1, -4, LIMIT, -LIMIT]
    assert levels.dtype == np.int8
    assert to_levels(1.0) == STEPS


def test_not_a_number_is_refused():
    with pytest.raises(BalleLiError, match="not a number"):
        to_levels(np.array([0.0, np.nan]))


def test_boxes_raise_the_latents_they_cover_by_their_weight():
    boxes = [Box(0.0, 0.0, 0.25, 0.5, "Face", weight=2.0), Box(0.75, 0.5, 1.0, 1.0, "Car")]
    grid = box_offset(boxes, 32, 64, 16)
    np.testing.assert_allclose(grid, [[2, 0, 0, 0], [0, 0, 0, 1]])


def test_boxes_are_the_pictures_and_not_the_padded_grids():
    left_half = [Box(0.0, 0.0, 0.5, 1.0, "Face")]
    grid = box_offset(left_half, 16, 40, 16)  # 40 pixels are 2.5 latents; half of them are 1.25
    np.testing.assert_allclose(grid, [[1.0, 0.25, 0.0]], atol=1e-6)


def test_latents_at_the_edge_count_what_the_picture_has_of_them():
    lower_half = [Box(0.0, 0.5, 1.0, 1.0, "Face", weight=0.5)]  # from pixel 10 on
    np.testing.assert_allclose(box_offset(lower_half, 20, 17, 16), [[0.5 * 6 / 16] * 2, [0.5] * 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "cells"), [(17, 33, (3, 5)), (1, 1, (7, 9)), (40, 32, (40, 32)), (64, 48, (2, 3))]
)
def test_a_map_is_stretched_over_the_picture_and_not_the_padded_grid(height, width, cells):
    values = np.random.default_rng(0).normal(size=cells)
    fine = np.kron(values, np.ones((height, width)))  # every pixel is cells[0] x cells[1] of these
    expected = [
        [
            fine[cells[0] * top : cells[0] * (top + 16), cells[1] * left : cells[1] * (left + 16)].mean()
            for left in range(0, width, 16)
        ]
        for top in range(0, height, 16)
    ]
    np.testing.assert_allclose(stretched(values, height, width, 16), expected, rtol=1e-5, atol=1e-6)


def test_an_even_map_stays_even():
    half_a_level = np.full((37, 1000), 0.5 / STEPS, np.float32)
    assert (stretched(half_a_level, 1001, 777, 16) == np.float32(0.5 / STEPS)).all()


@pytest.mark.parametrize("level", [-LIMIT, 0, LIMIT])
def test_an_even_picture_takes_one_byte(level):
    levels = np.full((5, 7), level, np.int8)
    packed = pack_levels(levels)
    assert len(packed) == 1
    assert np.array_equal(unpack_levels(packed, 5, 7), levels)


def test_any_levels_come_back():
    levels = np.random.default_rng(0).integers(-LIMIT, LIMIT + 1, (9, 4)).astype(np.int8)
    assert np.array_equal(unpack_levels(pack_levels(levels), 9, 4), levels)


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"\x15",
        b"\x80",
        b"not deflated",
        zlib.compress(bytes(34)),
        zlib.compress(bytes(36)),
        zlib.compress(b"\x10" * 35),
    ],
)
def test_damage_is_refused(section):
    with pytest.raises(BitstreamError):
        unpack_levels(section, 5, 7)
