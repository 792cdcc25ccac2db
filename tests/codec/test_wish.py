"""Quality, regions and sizes, asked of a tiny codec of variable rate."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_model

from balle_li.boxes import Box
from balle_li.codec.bitstream import Section, Stream
from balle_li.codec.codec import Codec
from balle_li.codec.importance_section import unpack_levels
from balle_li.codec.wish import Wish
from balle_li.errors import BalleLiError

BOX = Box("face", 0.25, 0.0, 0.75, 0.5)


@pytest.fixture(scope="module")
def codec():
    return Codec(tiny_model("balle-li-roi"), torch.device("cpu"))


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((192, 128), Image.Resampling.BICUBIC)


def levels(codec, image, **wishes):
    sections = Stream.unpack(codec.compress(image, **wishes)).sections
    return unpack_levels(sections[Section.IMPORTANCE], 8, 12)


def test_quality_sets_the_level_everywhere(codec, image):
    assert (levels(codec, image) == 0).all()
    assert (levels(codec, image, quality=0) == -14).all() and (levels(codec, image, quality=100) == 14).all()
    sizes = [len(codec.compress(image, quality=quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_boxes_raise_the_level_inside_by_their_weight(codec, image):
    r = levels(codec, image, quality=50, boxes=[BOX])
    inside = np.zeros((8, 12), bool)
    inside[:4, 3:9] = True
    assert (r[inside] == 8).all() and (r[~inside] == 0).all()
    assert (levels(codec, image, boxes=[BOX], class_weights={"face": 0.5})[inside] == 4).all()


def test_boxes_cost_some_dozen_bytes(codec, image):
    boxes = [Box("face", 0.11, 0.2, 0.4, 0.7), Box("dog", 0.5, 0.33, 0.91, 0.8)]
    section = Stream.unpack(codec.compress(image, boxes=boxes)).sections[Section.IMPORTANCE]
    assert 1 < len(section) < 60
    assert len(Stream.unpack(codec.compress(image)).sections[Section.IMPORTANCE]) == 1


def test_an_importance_of_any_size_is_stretched_over_the_picture(codec, image):
    r = levels(codec, image, importance=np.array([[0.0, 1.0]]))
    assert (r[:, :6] == 0).all() and (r[:, 6:] == 8).all()
    pixels = np.zeros((128, 192))
    pixels[:16] = -9.0
    r = levels(codec, image, importance=pixels)
    assert (r[0] == -16).all() and (r[1:] == 0).all()


def test_a_size_is_kept_and_used(codec, image):
    smallest, largest = (len(codec.compress(image, importance=np.full((1, 1), r))) for r in (-2.0, 2.0))
    for share in (0.2, 0.5, 0.9):
        target = int(smallest + share * (largest - smallest))
        data = codec.compress(image, target_bytes=target)
        assert 0.97 * target < len(data) <= target
    assert len(codec.compress(image, target_bytes=10 * largest)) == largest


def test_a_size_with_boxes_keeps_their_difference(codec, image):
    plain = codec.compress(image, quality=50)
    r = levels(codec, image, target_bytes=len(plain), boxes=[BOX])
    assert r[:4, 3:9].min() >= r[4:].max() + 6


def test_boxes_never_make_a_size_impossible(codec, image):
    smallest = len(codec.compress(image, importance=np.full((1, 1), -2.0)))
    assert len(codec.compress(image, target_bytes=smallest + 30, boxes=[BOX], class_weights={"face": 4.0})) > smallest


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"quality": 101}, "quality is 101"),
        ({"quality": 50, "target_bytes": 100}, "not both"),
        ({"target_bytes": 30}, "at least"),
        ({"target_bytes": 0}, "at least 1"),
        ({"effort": 11}, "effort is 11"),
        ({"effort": 1, "target_bytes": 9000}, "give a quality"),
        ({"importance": np.full((2, 2), np.nan)}, "not a finite number"),
        ({"importance": np.zeros(4)}, "shape"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(codec, image, wishes, words):
    with pytest.raises(BalleLiError, match=words):
        codec.compress(image, **wishes)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"quality": 50}, "a quality"),
        ({"boxes": [BOX]}, "boxes"),
        ({"target_bytes": 9000}, "a size"),
        ({"importance": np.zeros((1, 1))}, "an importance"),
    ],
)
def test_a_model_of_one_rate_says_so(image, wishes, words):
    with pytest.raises(BalleLiError, match=f"one rate and cannot be given {words}"):
        Codec(tiny_model(), torch.device("cpu")).compress(image, **wishes)


def test_a_picture_that_is_no_whole_number_of_latents():
    wish = Wish(None, (Box("face", 0.0, 0.0, 1.0, 1.0),), {}, None, None)
    change = wish.change(17, 33, 16)
    assert change.shape == (2, 3)
    assert change[0, 0] == 1 and 0 < change[1, 2] <= 1
