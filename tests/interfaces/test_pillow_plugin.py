import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.interfaces.locate import default_codec
from balle_li.interfaces.pillow_plugin import register


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tiny_model_folder(tmp_path / "model")
    monkeypatch.setenv("BALLE_LI_MODEL", str(folder))
    default_codec.cache_clear()
    register()
    register()
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


def test_metadata_passes_through(model):
    image, file = picture(), io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    image.info |= {"icc_profile": b"profile", "exif": exif.tobytes()}
    image.save(file, "BLI")
    opened = Image.open(io.BytesIO(file.getvalue()))
    opened.load()
    assert opened.info["icc_profile"] == b"profile" and opened.getexif()[0x010F] == "a camera"
    exif[0x010F] = "another camera"
    image.save(file := io.BytesIO(), "BLI", exif=exif)
    opened = Image.open(file)
    opened.load()
    assert opened.getexif()[0x010F] == "another camera"
    image.save(file := io.BytesIO(), "BLI", strip=True)
    opened = Image.open(file)
    opened.load()
    assert "icc_profile" not in opened.info


def test_opening_needs_no_model_and_loading_says_what_is_missing(model, tmp_path, monkeypatch):
    picture().save(tmp_path / "photo.bli")
    default_codec.cache_clear()
    monkeypatch.delenv("BALLE_LI_MODEL")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    opened = Image.open(tmp_path / "photo.bli")
    assert opened.size == (40, 30)
    with pytest.raises(BitstreamError, match="name its folder"):
        opened.load()


def test_damaged_files_raise_on_opening(model, tmp_path):
    picture().save(tmp_path / "photo.bli")
    (tmp_path / "broken.bli").write_bytes((tmp_path / "photo.bli").read_bytes()[:-1])
    with pytest.raises(BitstreamError, match="damaged"):
        Image.open(tmp_path / "broken.bli")


def test_registering_imports_no_torch():
    program = "import sys; from balle_li.interfaces.pillow_plugin import register; register(); sys.exit('torch' in sys.modules)"
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
