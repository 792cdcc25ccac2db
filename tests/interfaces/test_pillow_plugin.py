import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from tiny_model import tiny_model_folder

from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.interfaces import default_codec


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tiny_model_folder(tmp_path / "model")
    monkeypatch.setenv("BALLE_LI_MODEL", str(folder))
    default_codec.cache_clear()
    yield folder
    default_codec.cache_clear()


def picture(mode="RGB"):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_gives_the_codecs_bytes_and_pixels(model, tmp_path, mode):
    codec, image = Codec.load(model), picture(mode)
    image.save(tmp_path / "photo.bli")
    data = (tmp_path / "photo.bli").read_bytes()
    assert data == codec.compress(image)
    with Image.open(tmp_path / "photo.bli") as opened:
        assert (opened.format, opened.size, opened.mode) == ("BLI", (40, 30), mode)
        assert np.array_equal(np.asarray(opened), np.asarray(codec.decompress(data)))
        assert opened.resize((4, 3)).getpixel((0, 0)) is not None


def camera(name):
    exif = Image.Exif()
    exif[0x010F] = name
    return exif


def test_metadata_is_there_on_opening(model):
    image, file = picture(), io.BytesIO()
    image.info |= {"icc_profile": b"profile", "exif": camera("one").tobytes(), "xmp": b"<x/>", "dpi": (300, 300)}
    image.save(file, "BLI")
    opened = Image.open(file)
    assert opened._im is None and opened.getexif()[0x010F] == "one"
    assert (opened.info["icc_profile"], opened.info["xmp"], opened.info["dpi"]) == (b"profile", b"<x/>", (300, 300))
    opened.load()
    assert opened.getexif()[0x010F] == "one" and opened.info["dpi"] == (300, 300)


def test_metadata_may_be_given_or_left_out_on_saving(model):
    image = picture()
    image.info |= {"icc_profile": b"profile", "exif": camera("one").tobytes()}
    image.save(file := io.BytesIO(), "BLI", exif=camera("another"), dpi=(72, 72))
    assert Image.open(file).getexif()[0x010F] == "another" and Image.open(file).info["dpi"] == (72, 72)
    image.save(file := io.BytesIO(), "BLI", strip=True)
    assert Image.open(file).info == {}


def test_opening_needs_no_model_and_loading_says_what_is_missing(model, tmp_path, monkeypatch):
    picture().save(tmp_path / "photo.bli")
    default_codec.cache_clear()
    monkeypatch.delenv("BALLE_LI_MODEL")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    opened = Image.open(tmp_path / "photo.bli")
    assert opened.size == (40, 30)
    with pytest.raises(OSError, match="name its folder"):
        opened.load()


def test_damaged_files_raise_on_opening_what_pillows_users_catch(model, tmp_path):
    picture().save(tmp_path / "photo.bli")
    whole = (tmp_path / "photo.bli").read_bytes()
    path = tmp_path / "broken.bli"
    for data in (whole[:-1], whole[:5], whole[:4] + b"\x09" + whole[5:], whole[:20] + b"?" + whole[21:]):
        path.write_bytes(data)
        for error in (OSError, UnidentifiedImageError, BitstreamError):
            with pytest.raises(error, match="stream"):
                Image.open(path)


def test_registering_imports_no_torch():
    program = "import sys, balle_li; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_saving_takes_the_encode_options(model, tmp_path):
    folder, image = tiny_model_folder(tmp_path / "roi", "balle-li-roi"), picture()
    codec = Codec.load(folder)
    plain = codec.compress(image)
    for options in (
        {"quality": 80},
        {"boxes": [Box(0.1, 0.1, 0.9, 0.9, weight=1.5)]},
        {"quality_map": np.full((1, 1), 0.5)},
        {"target_bytes": len(plain)},
        {"target_bpp": 8 * len(plain) / 1200},
        {"effort": 1},
    ):
        image.save(tmp_path / "photo.bli", model=folder, **options)
        data = (tmp_path / "photo.bli").read_bytes()
        assert data == codec.compress(image, **options) == codec.compress(image, EncodeOptions(**options)), options
        assert data != plain or "target" in next(iter(options)), options
    with pytest.raises(BalleLiError, match="between 0 and 100"):
        image.save(tmp_path / "photo.bli", model=folder, quality=101)
    with pytest.raises(BalleLiError, match="balle has one rate"):
        image.save(tmp_path / "photo.bli", quality=50)
