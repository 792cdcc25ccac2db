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
