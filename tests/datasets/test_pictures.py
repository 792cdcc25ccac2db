"""Reading pictures: any format, depth and orientation gives upright 8-bit RGB, or one line that says why not."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from balle_li.datasets.pictures import exif_orientation, read_picture, upright_size
from balle_li.errors import DatasetError

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "tiff", "webp"])
def test_exif_orientation_is_applied(tmp_path, orientation, extension):
    image = Image.fromarray(RGB)
    path = save(tmp_path / f"a.{extension}", image, exif=exif(orientation), lossless=True)
    image.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(np.asarray(read_picture(path)), np.asarray(expected))
    assert upright_size(path) == expected.size
    assert exif_orientation(path) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_rotation_is_counter_clockwise_and_stands_for_the_exif_orientation(tmp_path, orientation, extension):
    path = save(tmp_path / f"a.{extension}", Image.fromarray(RGB), exif=exif(orientation))
    for turns in (1, 2, 3):
        expected = np.rot90(RGB, turns)
        np.testing.assert_array_equal(np.asarray(read_picture(path, 90.0 * turns)), expected)
        assert upright_size(path, 90.0 * turns) == expected.shape[1::-1]


def test_a_rotation_by_other_angles_is_an_error(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    with pytest.raises(DatasetError, match=r"a.png: .*multiple of 90"):
        read_picture(path, 30.0)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    samples = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    path = save(tmp_path / "deep.png", Image.fromarray(samples))
    np.testing.assert_array_equal(np.asarray(read_picture(path))[0, :, 0], [0, 0, 1, 1, 128, 255])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_lie_over_white(tmp_path, mode):
    pixels = np.array([[[0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)
    path = save(tmp_path / "clear.png", Image.fromarray(pixels).convert(mode))
    np.testing.assert_array_equal(np.asarray(read_picture(path)), [[[0, 0, 0], [255, 255, 255]]])


def test_a_transparent_colour_of_a_palette_becomes_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    path = save(tmp_path / "clear.png", image, transparency=1)
    np.testing.assert_array_equal(np.asarray(read_picture(path)), [[[0, 0, 0], [255, 255, 255]]])


def test_grey_and_cmyk_become_rgb(tmp_path):
    grey = read_picture(save(tmp_path / "grey.png", Image.fromarray(RGB[..., 0])))
    np.testing.assert_array_equal(np.asarray(grey)[..., 2], RGB[..., 0])
    red = Image.new("RGB", (16, 16), "red").convert("CMYK")
    path = save(tmp_path / "print.jpg", red, quality=95)
    np.testing.assert_allclose(np.asarray(read_picture(path))[8, 8], [255, 0, 0], atol=6)


@pytest.mark.parametrize("extension", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, extension):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = save(tmp_path / f"moving.{extension}", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert read_picture(path).getpixel((4, 4)) == (255, 0, 0)


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "phone.heic"
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 40, 90))).save(path)
    assert upright_size(path) == (64, 48)
    np.testing.assert_allclose(read_picture(path).getpixel((30, 20)), (200, 40, 90), atol=6)


def test_a_jpeg_may_come_smaller_but_not_below_what_is_asked(tmp_path):
    path = save(tmp_path / "large.jpg", Image.new("RGB", (1600, 800), "teal"), exif=exif(6))
    assert read_picture(path).size == (800, 1600)
    reduced = read_picture(path, at_least=(300, 600))
    assert reduced.size == (400, 800)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "gif", "tiff", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95])
def test_a_truncated_picture_is_an_error_of_one_line(tmp_path, extension, share):
    path = tmp_path / f"cut.{extension}"
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DatasetError, match=f"cut.{extension}") as failure:
        read_picture(path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "does not exist"), (b"", "empty"), (b"<html>Not found</html>", "not a picture")]
)
def test_what_is_no_picture_is_an_error_that_says_so(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    for read in (read_picture, upright_size, exif_orientation):
        with pytest.raises(DatasetError, match=f"a.jpg.*{reason}"):
            read(path)


def test_a_folder_in_place_of_a_picture_is_an_error(tmp_path):
    with pytest.raises(DatasetError):
        read_picture(tmp_path)


def test_decompression_bombs_are_errors(tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png", Image.new("L", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DatasetError, match=r"bomb.png.*exceeds limit"):
        read_picture(path)


def test_damaged_exif_data_does_not_lose_the_picture(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x00\x01")
    path = tmp_path / "a.jpg"
    path.write_bytes(buffer.getvalue())
    assert exif_orientation(path) == 1
    assert read_picture(path).size == (9, 6)


def test_edge_cases_give_a_picture_or_one_line(shared):
    names = []
    for path in sorted(path for path in (shared / "edge-cases").rglob("*") if path.is_file()):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")  # as on import; pytest resets the filters
            try:
                picture = read_picture(path)
            except DatasetError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                continue
        assert picture.mode == "RGB" and picture.size == upright_size(path)
        names.append(path.name)
    assert len(names) > 80
    assert {"basi0g16.png", "ball.png", "hpredict.tiff", "anim.webp", "portrait_2.jpg", "smile.ico"} <= set(names)
