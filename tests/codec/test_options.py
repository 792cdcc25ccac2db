"""Quality, regions and sizes, asked of a tiny variable-rate codec."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_model

from balle_li.boxes import Box
from balle_li.codec.bitstream import Stream
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions, longest_within
from balle_li.errors import BalleLiError
from balle_li.latents import Section
from balle_li.quality_map import unpack_levels

BOX = Box(0.25, 0.0, 0.75, 0.5, "face")


@pytest.fixture(scope="module")
def codec():
    return Codec(tiny_model("balle-li-roi"), torch.device("cpu"))


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((192, 128), Image.Resampling.BICUBIC)


def levels(codec, image, **options):
    sections = Stream.unpack(codec.compress(image, **options)).sections
    return unpack_levels(sections[Section.QUALITY_MAP], 8, 12)


def test_quality_sets_the_level_everywhere(codec, image):
    assert (levels(codec, image) == 0).all()
    assert (levels(codec, image, quality=0) == -16).all() and (levels(codec, image, quality=100) == 16).all()
    sizes = [len(codec.compress(image, quality=quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_boxes_raise_the_level_inside_by_their_weight(codec, image):
    r = levels(codec, image, quality=50, boxes=[BOX])
    inside = np.zeros((8, 12), bool)
    inside[:4, 3:9] = True
    assert (r[inside] == 8).all() and (r[~inside] == 0).all()
    assert (levels(codec, image, boxes=[replace(BOX, weight=0.5)])[inside] == 4).all()


def test_boxes_cost_some_dozen_bytes(codec, image):
    boxes = [Box(0.11, 0.2, 0.4, 0.7, "face"), Box(0.5, 0.33, 0.91, 0.8, "dog")]
    section = Stream.unpack(codec.compress(image, boxes=boxes)).sections[Section.QUALITY_MAP]
    assert 1 < len(section) < 60
    assert len(Stream.unpack(codec.compress(image)).sections[Section.QUALITY_MAP]) == 1


def test_a_quality_map_of_any_size_is_stretched_over_the_picture(codec, image):
    r = levels(codec, image, quality_map=np.array([[0.0, 1.0]]))
    assert (r[:, :6] == 0).all() and (r[:, 6:] == 8).all()
    pixels = np.zeros((128, 192))
    pixels[:16] = -9.0
    r = levels(codec, image, quality_map=pixels)
    assert (r[0] == -20).all() and (r[1:] == 0).all()


def test_a_size_is_kept_and_used(codec, image):
    smallest, largest = (len(codec.compress(image, quality_map=np.full((1, 1), r))) for r in (-2.5, 2.5))
    for fraction in (0.2, 0.5, 0.9):
        target = int(smallest + fraction * (largest - smallest))
        data = codec.compress(image, target_bytes=target)
        assert 0.97 * target < len(data) <= target
    assert len(codec.compress(image, target_bytes=10 * largest)) == largest


def test_a_small_picture_gets_the_highest_even_level_that_fits(codec, image):
    small = image.resize((64, 64))
    for level in range(-20, 21, 4):
        target = len(codec.compress(small, quality_map=np.full((1, 1), level / 8)))
        data = codec.compress(small, target_bytes=target)
        assert len(data) <= target
        assert unpack_levels(Stream.unpack(data).sections[Section.QUALITY_MAP], 4, 4).min() >= level


def test_a_size_takes_few_encodings():
    sizes = []

    def encode(levels):
        sizes.append(50 + int((levels + 20.0).sum()) + (15 if np.ptp(levels) else 0))
        return bytes(sizes[-1])

    data = longest_within(20_000, np.zeros((30, 40), np.float32), encode)
    assert 19_930 < len(data) <= 20_000 and len(sizes) <= 1 + 6 + 5


def test_a_size_with_boxes_keeps_their_difference(codec, image):
    plain = codec.compress(image, quality=50)
    r = levels(codec, image, target_bytes=len(plain), boxes=[BOX])
    assert r[:4, 3:9].min() >= r[4:].max() + 6


def test_boxes_never_make_a_size_impossible(codec, image):
    smallest = len(codec.compress(image, quality_map=np.full((1, 1), -2.5)))
    assert len(codec.compress(image, target_bytes=smallest + 100, boxes=[replace(BOX, weight=4.0)])) > smallest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quality": 101}, "quality is 101"),
        ({"quality": 50, "target_bytes": 100}, "not both"),
        ({"target_bytes": 30}, "at least"),
        ({"target_bytes": 0}, "at least 1"),
        ({"target_bytes": float("nan")}, "at least 1"),
        ({"target_bytes": float("inf")}, "at least 1"),
        ({"quality": 50, "target_bpp": 0.5}, "not both"),
        ({"quality": 50, "target_bpp": 0.5, "target_bytes": 100}, "not all"),
        ({"target_bpp": 0.0}, "must be positive"),
        ({"target_bpp": float("nan")}, "must be positive"),
        ({"effort": 1, "target_bpp": 0.5}, "give a quality"),
        ({"quality_map": np.zeros((0, 3))}, "shape"),
        ({"effort": 11}, "effort is 11"),
        ({"effort": 0.5}, "effort is 0.5, must be a whole number"),
        ({"effort": True}, "effort is True, must be a whole number"),
        ({"effort": 1, "target_bytes": 9000}, "give a quality"),
        ({"quality_map": np.full((2, 2), np.nan)}, "not a finite number"),
        ({"quality_map": np.zeros(4)}, "shape"),
    ],
)
def test_options_that_cannot_be_met_are_refused(codec, image, options, words):
    with pytest.raises(BalleLiError, match=words):
        codec.compress(image, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quality": 50}, "a quality"),
        ({"boxes": [BOX]}, "boxes"),
        ({"target_bytes": 9000}, "a target size"),
        ({"quality_map": np.zeros((1, 1))}, "a quality map"),
    ],
)
def test_a_model_of_one_rate_says_so(image, options, words):
    with pytest.raises(BalleLiError, match=f"one rate and cannot be given {words}"):
        Codec(tiny_model(), torch.device("cpu")).compress(image, **options)


def test_a_picture_that_is_no_whole_number_of_latents():
    offset = EncodeOptions(boxes=[Box(0.0, 0.0, 1.0, 1.0, "face")]).offset(17, 33, 16)
    assert offset.shape == (2, 3)
    np.testing.assert_allclose(offset, 1.0, rtol=1e-6)
    offset = EncodeOptions(quality_map=np.array([[0.0, 1.0]])).offset(17, 17, 16)
    np.testing.assert_allclose(offset, [[7.5 / 16, 1.0]] * 2)  # the second half begins at pixel 8.5


def test_bits_per_pixel_are_a_size_of_the_whole_file(codec, image):
    bits = 8 * len(codec.compress(image, quality=60))
    bpp = bits / (192 * 128)
    assert codec.compress(image, target_bpp=bpp) == codec.compress(image, target_bytes=bits // 8)


def test_values_beyond_all_bounds_are_those_at_the_bound(codec, image):
    largest = codec.compress(image, quality_map=np.full((1, 1), 2.5))
    for offset in ({"boxes": [Box(0.0, 0.0, 1.0, 1.0, weight=1e39)]}, {"quality_map": np.full((1, 1), 1e39)}):
        assert codec.compress(image, **offset) == codec.compress(image, **offset, target_bytes=10**9) == largest
    assert codec.compress(image, target_bpp=1e308) == largest


def test_options_may_be_given_whole_and_changed_by_name(codec, image):
    options = EncodeOptions(quality=80, boxes=[BOX])
    assert codec.compress(image, options) == codec.compress(image, quality=80, boxes=[BOX])
    assert codec.compress(image, options, quality=20) == codec.compress(image, quality=20, boxes=[BOX])
    assert options.quality == 80


def test_what_needs_no_rate_is_for_every_model(image):
    options = EncodeOptions(effort=1, strip=True)
    assert Codec(tiny_model(), torch.device("cpu")).compress(image, options)
