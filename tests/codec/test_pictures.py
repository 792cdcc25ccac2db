import io
import zlib

import numpy as np
import pytest
from PIL import Image

from balle_li.codec.pictures import Picture, inflate, pack_alpha, unpack_alpha
from balle_li.errors import BalleLiError, BitstreamError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "returns"),
    [
        ("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("PA", "RGBA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("RGBa", "RGBA"),
        ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"), ("RGBX", "RGB"),
    ],
)  # fmt: skip
def test_every_mode_comes_back_as_colour_or_grey(mode, returns):
    image = Image.fromarray(PIXELS)
    for step in {"P": ["RGB"], "PA": ["RGB", "P"], "HSV": ["RGB"], "YCbCr": ["RGB"]}.get(mode, []):
        image = image.convert(step)
    image = image.convert(mode)
    picture = Picture.from_image(image, strip=False)
    assert picture.rgb.shape == (5, 7, 3) and picture.rgb.dtype == np.uint8
    assert picture.to_image().mode == returns
    assert np.array_equal(
        np.asarray(picture.to_image().convert("RGB")), np.asarray(image.convert("RGBA").convert("RGB"))
    )


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_keep_their_upper_eight(mode):
    image = Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.uint16)).convert(mode)
    assert np.asarray(Picture.from_image(image, strip=False).to_image()).tolist() == [[0, 0, 1, 255]]


@pytest.mark.parametrize("image", [Image.new("F", (2, 2)), Image.new("RGB", (0, 3))])
def test_what_cannot_be_coded_is_refused(image):
    with pytest.raises(BalleLiError):
        Picture.from_image(image, strip=False)


def test_transparent_palettes_become_alpha():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.info["transparency"] = 1
    picture = Picture.from_image(image, strip=False)
    assert picture.alpha.tolist() == [[255, 0]] and picture.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_dropped(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera"
    file = io.BytesIO()
    upright = Image.fromarray(PIXELS[:, :, :3])
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Pillow's inverse transposition
    (upright if undo is None else upright.transpose(Image.Transpose(undo))).save(file, "PNG", exif=exif)
    picture = Picture.from_image(Image.open(file), strip=False)
    assert np.array_equal(picture.rgb, PIXELS[:, :, :3])
    kept = picture.to_image().getexif()
    assert kept[0x010F] == "a camera" and kept.get(0x0112, 1) == 1


def test_broken_exif_is_kept_as_it_is():
    image = Image.fromarray(PIXELS)
    image.info["exif"] = b"Exif\0\0 nonsense"
    assert Picture.from_image(image, strip=False).exif == b"Exif\0\0 nonsense"


def test_profiles_stay_with_their_colour_space_and_strip_drops_them():
    image = Image.fromarray(PIXELS[:, :, :3])
    image.info |= {"icc_profile": b"profile", "exif": b"Exif\0\0"}
    kept = Picture.from_image(image, strip=False)
    assert (kept.icc, kept.exif) == (b"profile", b"Exif\0\0")
    assert kept.to_image().info == {"icc_profile": b"profile", "exif": b"Exif\0\0"}
    stripped = Picture.from_image(image, strip=True)
    assert stripped.icc is None and stripped.exif is None
    cmyk = image.convert("CMYK")
    cmyk.info["icc_profile"] = b"profile"
    assert Picture.from_image(cmyk, strip=False).icc is None


def test_alpha_is_lossless():
    for plane in (PIXELS[:, :, 3], np.full((300, 200), 255, np.uint8), np.zeros((1, 1), np.uint8)):
        assert np.array_equal(unpack_alpha(pack_alpha(plane), *plane.shape), plane)
    assert len(pack_alpha(np.full((300, 200), 255, np.uint8))) < 400


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", zlib.compress(bytes(10**7)), zlib.compress(bytes(34)), zlib.compress(bytes(35))[:-1]]
)
def test_damaged_alpha_is_refused(data):
    with pytest.raises(BitstreamError):
        unpack_alpha(data, 5, 7)


def test_inflating_stops_at_the_limit():
    assert inflate(zlib.compress(bytes(100)), 100) == bytes(100)
    with pytest.raises(BitstreamError):
        inflate(zlib.compress(bytes(2**28)), 100)
