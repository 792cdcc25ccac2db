import json

import numpy as np
import pytest
from PIL import Image

from balle_li.codec.options import EncodeOptions
from balle_li.errors import BalleLiError
from balle_li.interfaces.arguments import parse_boxes, parse_size, read_arguments, read_quality_map

SIZE = (200, 100)


@pytest.mark.parametrize(("text", "size"), [("12000", 12000), ("12k", 12000), ("1.5M", 1_500_000), ("900b", 900)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "12 parsecs", "-3", "k", "9" * 400])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(BalleLiError, match="--target-size"):
        parse_size(text)


def test_boxes_in_pixels_and_in_fractions_are_the_same():
    (pixels,) = read_arguments(boxes=["50,10,100,60"]).of(*SIZE).boxes
    (fractions,) = read_arguments(boxes=["0.25,0.1,0.5,0.6"]).of(*SIZE).boxes
    assert pixels == fractions
    assert (pixels.xmin, pixels.ymin, pixels.xmax, pixels.ymax) == (0.25, 0.1, 0.5, 0.6)


def test_weights_belong_to_their_boxes():
    boxes = read_arguments(boxes=["0,0,50,50,2", "50,0,100,50", "0,50,50,100,0"]).of(*SIZE).boxes
    assert [(box.xmin, box.weight) for box in boxes] == [(0.0, 2.0), (0.25, 1.0), (0.0, 0.0)]


def test_a_json_file_of_lists_and_of_objects(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([[1, 2, 30, 40], {"xmin": 5, "ymin": 6, "xmax": 70, "ymax": 80, "weight": 3}]))
    assert parse_boxes(str(path)) == [(1, 2, 30, 40, 1), (5, 6, 70, 80, 3)]


@pytest.mark.parametrize("text", ["1,2,3", "1,2,1,4", "5,5,1,1", "1,2,3,4,-1", "1,2,nan,4", "nowhere.json", "a,b,c,d"])
def test_what_is_no_box_is_refused(text):
    with pytest.raises(BalleLiError, match="--boxes") as error:
        parse_boxes(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["{", "{}", "[[1]]", '["ab"]', "[3]", f"[[0, 0, 1, 1, {10**400}]]", "[" * 100_000])
def test_a_file_that_holds_no_boxes_is_refused(tmp_path, content):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(BalleLiError, match="--boxes"):
        parse_boxes(str(tmp_path / "boxes.json"))


def test_a_box_outside_the_picture_is_refused():
    with pytest.raises(BalleLiError, match="outside the picture of 200x100"):
        read_arguments(boxes=["300,10,400,60"]).of(*SIZE)


def test_a_grey_picture_is_a_quality_map(tmp_path):
    Image.fromarray(np.array([[0, 128, 192]], np.uint8)).save(tmp_path / "map.png")
    assert read_quality_map(str(tmp_path / "map.png")).tolist() == [[-2.0, 0.0, 1.0]]
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(BalleLiError, match="not a picture"):
        read_quality_map(str(tmp_path / "text.png"))


def test_what_is_typed_are_the_encode_options():
    assert read_arguments().of(*SIZE) == EncodeOptions(boxes=[])
    for typed, option in (
        ({"quality": 70.0}, {"quality": 70.0}),
        ({"target_bpp": 0.5}, {"target_bpp": 0.5}),
        ({"target_size": "9k"}, {"target_bytes": 9000}),
        ({"effort": 3, "strip": True}, {"effort": 3, "strip": True}),
    ):
        assert read_arguments(**typed).of(*SIZE) == EncodeOptions(boxes=[], **option)


def test_options_of_one_picture_do_not_leak_into_those_of_the_next():
    arguments = read_arguments(boxes=["50,10,100,60"])
    first, second = arguments.of(*SIZE), arguments.of(100, 100)
    assert (first.boxes[0].xmax, second.boxes[0].xmax) == (0.5, 1.0)


@pytest.mark.parametrize("given", [(50, 0.5, None), (None, 0.5, "9k"), (50, None, "9k")])
def test_one_of_quality_rate_and_size(given):
    with pytest.raises(BalleLiError, match="give one of"):
        read_arguments(*given)
