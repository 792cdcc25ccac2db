"""Boxes: conversions keep them on the same object, and the weight map is exact."""

import math

import numpy as np
import pytest
from PIL import Image, ImageOps

from balle_li.boxes import Box, box_weight_map, clip_to_window, from_records, to_records, upright_boxes, weighted
from balle_li.errors import DatasetError

DOG = Box(0.1, 0.2, 0.4, 0.8, "Dog")


def corners(box: Box) -> tuple[float, float, float, float]:
    return box.xmin, box.ymin, box.xmax, box.ymax


@pytest.mark.parametrize(
    "bad", [(0.5, 0.1, 0.5, 0.9), (0.6, 0.1, 0.5, 0.9), (-0.1, 0, 1, 1), (0, 0, 1.1, 1), (0, 0, math.nan, 1)]
)
def test_a_box_outside_its_picture_is_refused(bad):
    with pytest.raises(DatasetError, match="'Dog'"):
        Box(*bad, "Dog")


def test_clipped_keeps_the_part_inside():
    assert Box.clipped(-0.5, 0.5, 0.25, 7.0, "Dog", 2.0, is_group_of=True) == Box(
        0.0, 0.5, 0.25, 1.0, "Dog", 2.0, is_group_of=True
    )
    assert Box.clipped(1.0, 0.0, 2.0, 1.0, "Dog") is None
    assert Box.clipped(math.nan, 0.0, 1.0, 1.0, "Dog") is None
    assert Box.clipped(0.0, 0.0, math.inf, 1.0, "Dog") is None


def test_to_fiftyone():
    assert Box(0.25, 0.5, 0.75, 0.75, "Dog").to_fiftyone() == [0.25, 0.5, 0.5, 0.25]


def test_records_and_back():
    boxes = [DOG, Box(0, 0, 1, 1, "Cat", is_group_of=True), Box(0, 0, 0.5, 0.5, "Bird", is_depiction=True)]
    assert from_records(to_records(boxes)) == boxes
    assert from_records(None) == []


def test_quarter_turns_are_counter_clockwise():
    top_right = Box(0.5, 0.0, 1.0, 0.25, "Dog")
    assert corners(top_right.rotated(1)) == (0.0, 0.0, 0.25, 0.5)  # the top-right corner goes to the top-left
    assert corners(DOG.rotated(4)) == pytest.approx(corners(DOG))
    assert corners(DOG.rotated(-1)) == pytest.approx(corners(DOG.rotated(3)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_follow_every_exif_orientation(orientation):
    pixels = np.zeros((10, 20), np.uint8)
    pixels[2:4, 2:12] = 255  # rows 2..4 of 10, columns 2..12 of 20
    stored = Image.fromarray(pixels)
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))
    (box,) = upright_boxes([Box(0.1, 0.2, 0.6, 0.4, "Dog")], orientation)
    np.testing.assert_allclose(box_weight_map([box], *upright.shape), upright / 255, atol=1e-6)


def test_a_stated_rotation_stands_for_the_exif_orientation():
    assert upright_boxes([DOG], 6, 270.0) == [DOG.rotated(3)]
    assert upright_boxes([DOG], 1, -90.0) == [DOG.rotated(3)]
    with pytest.raises(DatasetError, match="multiple of 90"):
        upright_boxes([DOG], 1, 45.0)


def test_a_window_sees_boxes_in_its_own_coordinates():
    (seen,) = clip_to_window([DOG], 0.0, 0.0, 0.5, 0.5)
    assert corners(seen) == pytest.approx((0.2, 0.4, 0.8, 1.0))
    assert clip_to_window([DOG], 0.5, 0.0, 1.0, 1.0) == []
    assert clip_to_window([DOG], 0.4, 0.0, 1.0, 1.0) == []  # it only touches the edge


def test_a_window_drops_what_it_hardly_shows():
    a_tenth = 0.37, 0.0, 1.0, 1.0
    assert clip_to_window([DOG], *a_tenth, min_visible=0.11) == []
    assert len(clip_to_window([DOG], *a_tenth, min_visible=0.09)) == 1
    inside_a_large_box = 0.2, 0.3, 0.21, 0.31
    (seen,) = clip_to_window([DOG], *inside_a_large_box, min_visible=0.9)
    assert corners(seen) == (0.0, 0.0, 1.0, 1.0)


def test_the_weight_map_is_exact_at_fractions_of_pixels():
    box = Box(0.03, 0.25, 0.2, 0.5, "Dog", weight=2.0)  # on 10x4 pixels: columns 0.3 to 2, row 1
    weights = box_weight_map([box], 4, 10)
    assert weights.dtype == np.float32 and weights.shape == (4, 10)
    np.testing.assert_allclose(weights[1], [1.4, 2.0] + [0.0] * 8, rtol=1e-6)
    assert weights[[0, 2, 3]].sum() == 0


def test_the_sum_of_the_weight_map_is_the_area_of_the_box():
    generator = np.random.default_rng(0)
    for _ in range(50):
        xmin, xmax = sorted(generator.random(2))
        ymin, ymax = sorted(generator.random(2))
        box = Box(xmin, ymin, xmax, ymax, "Dog")
        assert box_weight_map([box], 13, 7).mean() == pytest.approx(box.area, abs=1e-6)


def test_a_box_inside_one_pixel_gives_its_share():
    assert box_weight_map([Box(0.2, 0.2, 0.5, 0.7, "Dog")], 1, 1).item() == pytest.approx(0.15)


def test_overlapping_boxes_count_by_their_maximum():
    boxes = [Box(0, 0, 1, 1, "Dog"), Box(0, 0, 0.5, 1, "Cat"), Box(0.5, 0, 1, 1, "Ant")]
    weights = box_weight_map(weighted(boxes, {"Cat": 3.0, "Ant": 0.5}), 1, 2)
    np.testing.assert_array_equal(weights, [[3.0, 1.0]])


def test_no_boxes_no_weight():
    np.testing.assert_array_equal(box_weight_map([], 3, 2), np.zeros((3, 2)))


def test_a_class_that_is_not_named_weighs_one():
    boxes = [Box(0, 0, 1, 1, "Dog", weight=5.0), Box(0, 0, 1, 1, "Cat"), Box(0, 0, 1, 1)]
    assert [box.weight for box in weighted(boxes, {"Cat": 0.25})] == [1.0, 0.25, 1.0]
    assert [box.weight for box in boxes] == [5.0, 1.0, 1.0]


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_below_zero_or_without_bound_is_refused(weight):
    with pytest.raises(DatasetError, match="weight"):
        Box(0, 0, 1, 1, "Dog", weight=weight)
    assert not box_weight_map([Box(0, 0, 1, 1, "Dog", weight=0.0)], 2, 2).any()


def test_turns_and_windows_keep_the_weight():
    heavy = Box(0.1, 0.2, 0.4, 0.8, "Dog", weight=3.0, is_depiction=True)
    (seen,) = clip_to_window([heavy], 0.0, 0.0, 0.5, 0.5)
    for box in (heavy.rotated(1), heavy.mirrored(), seen):
        assert box.weight == 3.0 and box.is_depiction and box.label == "Dog"
