import numpy as np
import pytest

from balle_li.boxes import Box
from balle_li.errors import BalleLiError
from balle_li.importance import LIMIT, STEPS, box_importance, quality_to_r, to_levels


def test_quality_spans_r():
    assert [quality_to_r(quality) for quality in (0, 50, 75, 100)] == [-1.75, 0.0, 0.875, 1.75]


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
    boxes = [Box("Face", 0.0, 0.0, 0.25, 0.5), Box("Car", 0.75, 0.5, 1.0, 1.0)]
    grid = box_importance(boxes, 32, 64, 16, {"Face": 2.0})
    np.testing.assert_allclose(grid, [[2, 0, 0, 0], [0, 0, 0, 1]])


def test_boxes_are_the_pictures_and_not_the_padded_grids():
    left_half = [Box("Face", 0.0, 0.0, 0.5, 1.0)]
    grid = box_importance(left_half, 16, 40, 16, {})  # 40 pixels are 2.5 latents; half of them are 1.25
    np.testing.assert_allclose(grid, [[1.0, 0.25, 0.0]], atol=1e-6)
