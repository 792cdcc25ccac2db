import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_model

from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.demo import trials
from balle_li.demo.trials import Dial, ModelTrial, Photograph
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.quality_map import LIMIT


def photograph(name="chelsea"):
    return trials.open_photograph(trials.samples()[name].path, name)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    tiny_model("balle-li-roi", levels=1).save(folder)
    return Codec.load(folder, "cpu")


@pytest.fixture(scope="module")
def trial(codec):
    return ModelTrial(codec, photograph().pixels)


def test_the_first_file_is_that_of_the_default_quality(codec, trial):
    picture = photograph()
    assert trial.compress(None, ()).data == codec.compress(Image.fromarray(picture.pixels))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("boxes", [(), (Box(0.2, 0.2, 0.5, 0.6), Box(0.6, 0.1, 0.9, 0.5, weight=0.5))])
def test_a_size_is_kept_to_half_a_per_cent(codec, trial, factor, boxes):
    size = round(factor * len(trial.compress(None, ()).data))
    made = trial.compress(size, boxes)
    assert 0.995 * size <= len(made.data) <= size and not made.limit
    assert np.array_equal(made.decoded, np.asarray(codec.decompress(made.data)))
    assert made.bits.sum() / 8 == pytest.approx(len(made.data), rel=0.1)


def test_boxes_raise_the_quality_map_where_they_are(trial):
    levels = trial.compress(len(trial.compress(None, ()).data), [Box(0.0, 0.0, 0.25, 1.0)]).levels
    assert (levels[:18, :6] - levels[:18, 8:14] == 8).all()


def test_sizes_that_no_file_has_are_said(trial):
    smallest, largest = trial.compress(1, ()), trial.compress(10**7, ())
    assert smallest.limit == "it cannot get that small" and (smallest.levels == -LIMIT).all()
    assert largest.limit == "it cannot get that large" and (largest.levels == LIMIT).all()


def test_later_sizes_take_few_encodes(codec):
    trial, encodes = ModelTrial(codec, photograph().pixels), []
    encode = trial._encode
    trial._encode = lambda levels: encodes.append(1) or encode(levels)
    size = len(trial.compress(None, ()).data)
    trial.compress(round(0.9 * size), ())
    trial.compress(size, [Box(0.1, 0.1, 0.6, 0.6)])
    assert len(encodes) <= 9


def test_a_model_of_one_rate_is_refused(tmp_path):
    tiny_model("balle").save(tmp_path)
    with pytest.raises(BalleLiError, match="has one rate"):
        ModelTrial(Codec.load(tmp_path, "cpu"), photograph().pixels)


def test_a_stream_is_decoded_by_the_model_that_made_it(codec, trial, tmp_path):
    tiny_model("balle-li-roi", seed=1).save(tmp_path)
    other = Codec.load(tmp_path, "cpu")
    made = trial.compress(None, [Box(0.2, 0.2, 0.5, 0.6)])
    found, opened = trials.open_stream(made.data, [other, codec])
    assert found is codec and np.array_equal(opened.decoded, made.decoded)
    assert np.array_equal(opened.levels, made.levels)
    with pytest.raises(BitstreamError, match="was made by model"):
        trials.open_stream(made.data, [other])
    with pytest.raises(BitstreamError, match="damaged"):
        trials.open_stream(made.data[:-9], [codec])


def test_both_released_models_are_offered():
    found = trials.released_models()
    assert list(found) == ["tuned for MS-SSIM", "tuned for PSNR"]
    assert [Codec.load(folder, "cpu").tune for folder in found.values()] == ["ms-ssim", "psnr"]


@pytest.mark.parametrize("name", ["jpeg", "webp", "jpeg2000"])
def test_a_classical_codec_is_brought_below_the_size(name):
    picture = photograph()
    *_, found = trials.classical_at(name, picture, 9000)
    assert 0.9 * 9000 <= found.size <= 9000 and not found.limit
    assert found.decoded.shape == picture.pixels.shape
    best = max(size for size in picture.sizes[name].values() if size <= 9000)
    assert found.size == best
    again = list(trials.classical_at(name, picture, 9000))
    assert len(again) == 1 and again[0].size == best


def test_a_classical_codec_says_which_sizes_it_cannot_have():
    *_, small = trials.classical_at("jpeg", photograph(), 100)
    *_, large = trials.classical_at("jpeg", photograph(), 10**7)
    assert small.setting.startswith("quality 1,") and small.limit == "it cannot get that small"
    assert large.setting.startswith("quality 100,") and large.limit == "it cannot get that large"


def test_curves_rise_and_tell_the_sizes_of_their_files(trial):
    picture = photograph()
    for points in (list(trial.curve()), list(trials.classical_curve("jpeg", picture))):
        assert np.all(np.diff([point.bpp for point in points]) > 0)
    assert sorted(picture.sizes["jpeg"]) == trials.classical_sweep("jpeg")


def test_a_search_ends_beside_sizes_that_jump():
    sizes = {}
    dial = Dial(1, 100, sizes, 0.02)
    for step in dial.steps(500, lambda step: 10.0 * step):
        sizes[step] = 10 * step if step < 40 else 1000 + step
    assert dial.found(500) == (39, "") and len(sizes) < 12


def test_figures_are_told_apart_by_boxes():
    original = photograph().pixels
    decoded = original.copy()
    decoded[:150] //= 2
    found = trials.measure(original, decoded, [Box(0.0, 0.5, 1.0, 1.0), Box(0.0, 0.75, 0.5, 1.0, weight=3.0)])
    assert found.inside >= 100.0 and found.outside < found.psnr < 20
    assert trials.measure(original, decoded, ()).inside is None
    assert trials.measure(original, decoded, [Box(0.0, 0.0, 1.0, 1.0)]).outside is None, "no pixel is outside"


def test_a_hundred_megapixels_are_scaled_down_with_a_word(tmp_path):
    Image.new("L", (12_000, 8_400), 77).save(tmp_path / "wall.jpg")
    wall = trials.open_photograph(tmp_path / "wall.jpg", "wall.jpg")
    assert 0.99 * 2**21 < wall.pixels[..., 0].size <= 2**21 and (wall.pixels == 77).all()
    assert wall.note.startswith("wall.jpg has 100.8 megapixels and was scaled down to 2.1")


def test_pictures_are_shown_upright_and_as_they_are_when_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (40, 30), "red").convert("RGB").save(tmp_path / "turned.jpg", exif=exif)
    turned = trials.open_photograph(tmp_path / "turned.jpg", "turned.jpg")
    assert turned.pixels.shape == (40, 30, 3) and turned.note == ""


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_what_is_no_picture_is_one_line(tmp_path, content):
    (tmp_path / "notes.png").write_bytes(content)
    with pytest.raises(BalleLiError, match=r"^notes\.png[^\n]*$"):
        trials.open_photograph(tmp_path / "notes.png", "notes.png")


def test_a_picture_that_is_too_large_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "MOST_PIXELS", 1000)
    Image.new("L", (40, 30)).save(tmp_path / "huge.png")
    with pytest.raises(BalleLiError, match=r"^huge\.png: [^\n]* cut it$"):
        trials.open_photograph(tmp_path / "huge.png", "huge.png")


def test_what_a_classical_codec_cannot_take_is_one_line():
    flat = Photograph("flat", np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(BalleLiError, match=r"^JPEG [^\n]*$"):
        list(trials.classical_at("jpeg", flat, 100))
