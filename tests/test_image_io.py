"""Reading and writing: any format, depth and orientation gives upright 8-bit pixels, or one line that says why not."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from balle_li.errors import BalleLiError, DatasetError, PictureError
from balle_li.image_io import (
    FORMATS,
    SUFFIXES,
    Picture,
    encoded,
    exif_orientation,
    format_of,
    pictures_in,
    read_picture,
    upright_size,
)
from balle_li.image_metadata import HELD

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)


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
    np.testing.assert_array_equal(Picture.read(path).rgb, np.asarray(expected))
    np.testing.assert_array_equal(Picture.from_image(Image.open(path)).rgb, np.asarray(expected))


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


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_rounded_the_same_way_for_training_and_for_the_codec(tmp_path, mode):
    samples = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    image = Image.fromarray(samples.astype(">u2") if mode == "I;16B" else samples)
    image = image.convert("I") if mode == "I" else image
    assert image.mode == mode
    path = save(tmp_path / f"deep.{'png' if mode == 'I;16' else 'tiff'}", image)
    rounded = [(int(sample) * 255 + 32767) // 65535 for sample in samples[0]]
    for pixels in (np.asarray(read_picture(path)), Picture.read(path).rgb, Picture.from_image(image).rgb):
        assert pixels[0, :, 0].tolist() == rounded
    assert Picture.read(path).grey


@pytest.mark.parametrize(
    ("bits", "kind", "white", "stored"),
    [(16, 1, 0, "0000 0080 ffff"), (32, 3, 0, "00000000 0000003f 0000803f"), (12, 1, 1, "fff8 0000 00")],
)
def test_deep_grey_tiff_is_as_bright_as_its_tags_say(tmp_path, bits, kind, white, stored):
    entries = {256: 3, 257: 1, 258: bits, 259: 1, 262: white, 273: 134, 277: 1, 278: 1, 279: 12, 339: kind}
    packed = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in entries.items())
    path = tmp_path / "a.tiff"
    path.write_bytes(
        b"II*\0" + struct.pack("<LH", 8, len(entries)) + packed + bytes(4) + bytes.fromhex(stored) + bytes(6)
    )
    for pixels in (np.asarray(read_picture(path)), Picture.read(path).rgb):
        assert pixels[0, :, 0].tolist() == pytest.approx([255, 128, 0], abs=1)


def test_samples_without_a_defined_brightness_are_refused(tmp_path):
    for values in ([[-1, 5]], [[0, 65536]]):
        with pytest.raises(PictureError, match="16-bit range"):
            Picture.from_image(Image.fromarray(np.array(values, np.int32)))
    for values in ([[0.0, 1.01]], [[-0.1, 1.0]], [[np.nan, 0.0]]):
        with pytest.raises(PictureError, match=r"outside \[0, 1\]"):
            Picture.from_image(Image.fromarray(np.array(values, np.float32)))
    path = save(tmp_path / "float.tiff", Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)))
    assert np.asarray(read_picture(path))[0, :, 0].tolist() == Picture.read(path).rgb[0, :, 0].tolist() == [0, 128, 255]


def png_chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width, height, depth, colour, rows, *chunks):
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("depth", "colour", "samples", "transparent"),
    [
        (2, 0, [2, 3, 1], [2]),
        (4, 0, [5, 0, 15], [5]),
        (16, 0, [300, 40000, 301], [300]),
        (16, 2, [[300, 5, 70], [40000, 5, 70], [300, 900, 70]], [300, 5, 70]),
        (16, 2, [[100, 5, 7], [40000, 5, 70], [300, 900, 70]], [100, 5, 7]),
        (8, 0, [3, 200, 4], [3]),
        (8, 2, [[3, 4, 5], [3, 4, 6], [5, 4, 3]], [3, 4, 5]),
    ],
)
def test_a_transparent_colour_is_kept_at_any_depth(depth, colour, samples, transparent):
    bits = "".join(f"{sample:0{depth}b}" for sample in np.ravel(samples))
    row = b"\0" + np.packbits([int(bit) for bit in bits]).tobytes()
    colour_key = b"".join(sample.to_bytes(2, "big") for sample in transparent)
    data = png(3, 1, depth, colour, row, png_chunk(b"tRNS", colour_key))
    picture = Picture.read(data)
    assert picture.alpha is not None and picture.alpha.tolist() == [[0, 255, 255]]
    assert picture.grey == (colour == 0)


def test_a_transparent_colour_that_is_no_colour_of_the_mode_means_nothing():
    image = Image.new("RGB", (2, 2))
    image.info["transparency"] = b"left behind by a palette"
    assert Picture.from_image(image).alpha is None


@pytest.mark.parametrize(
    ("mode", "returns"),
    [
        ("1", "L"), ("L", "L"), ("LA", "LA"), ("La", "LA"), ("P", "RGB"), ("PA", "RGBA"), ("RGB", "RGB"), ("RGBA", "RGBA"),
        ("RGBa", "RGBA"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("LAB", "RGB"), ("HSV", "RGB"), ("RGBX", "RGB"),
    ],
)  # fmt: skip
def test_every_mode_comes_back_as_colour_or_grey(mode, returns):
    image = Image.fromarray(PIXELS)
    steps = {"P": ["RGB"], "PA": ["RGB", "P"], "HSV": ["RGB"], "YCbCr": ["RGB"], "La": ["LA"], "LAB": ["RGB"]}
    for step in steps.get(mode, []):
        image = image.convert(step)
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    image = image.convert(mode)
    picture = Picture.from_image(image)
    assert picture.rgb.shape == (5, 7, 3) and picture.rgb.dtype == np.uint8
    assert picture.to_image().mode == returns
    plain = image.convert("LA" if mode == "La" else "RGB" if mode == "LAB" else "RGBA").convert("RGB")
    assert np.array_equal(np.asarray(picture.to_image().convert("RGB")), np.asarray(plain))


def test_a_profile_stays_with_its_colour_space():
    image = Image.fromarray(PIXELS[:, :, :3])
    for mode, icc in (("RGB", b"profile"), ("L", b"profile"), ("CMYK", None), ("YCbCr", None)):
        converted = image.convert(mode)
        converted.info["icc_profile"] = b"profile"
        assert Picture.from_image(converted).metadata.icc == icc


def test_tall_pictures_are_converted_in_bands_without_a_seam(monkeypatch):
    monkeypatch.setattr("balle_li.image_io._BAND_PIXELS", 14)
    picture = Picture.from_image(Image.fromarray(PIXELS))
    assert np.array_equal(picture.rgb, PIXELS[:, :, :3]) and np.array_equal(picture.alpha, PIXELS[:, :, 3])


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(BalleLiError, match="no pixels"):
        Picture.from_image(Image.new("RGB", (0, 3)))


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
    named_jpeg = path.rename(tmp_path / "phone.jpg")
    np.testing.assert_allclose(Picture.read(named_jpeg).rgb[20, 30], (200, 40, 90), atol=6)
    assert Picture.read(named_jpeg.read_bytes()).size == (64, 48)


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


@pytest.mark.parametrize("picture_format", sorted(HELD))
def test_damage_of_any_kind_is_one_line_of_one_exception(picture_format):
    noise = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    whole, _ = encoded(Image.fromarray(noise), picture_format)
    assert Picture.read(whole).size == (48, 48)
    dice = np.random.default_rng(2)
    for _ in range(60):
        data = bytearray(whole)
        for place in dice.integers(0, len(data), dice.choice([1, 4, 64])):
            data[place] = dice.integers(0, 256)
        try:
            Picture.read(bytes(data))
        except PictureError as error:
            assert "\n" not in str(error)


def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    for error in (RuntimeError("first\nsecond"), struct.error("?"), KeyError(7), MemoryError(), RecursionError()):

        def fail(image, error=error):
            raise error

        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", fail)
        for read in (read_picture, Picture.read):
            with pytest.raises(PictureError, match=r"a\.png: ") as caught:
                read(path)
            assert "\n" not in str(caught.value)


def test_nothing_that_starts_an_outside_program_is_read(tmp_path):
    path = tmp_path / "page.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(PictureError, match="not a picture"):
        read_picture(path)
    assert "EPS" not in FORMATS and set(SUFFIXES.values()) <= set(FORMATS)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "does not exist"), (b"", "empty"), (b"<html>Not found</html>", "not a picture")]
)
def test_what_is_no_picture_is_an_error_that_says_so(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    for read in (read_picture, upright_size, exif_orientation, Picture.read):
        with pytest.raises(DatasetError, match=f"a.jpg.*{reason}"):
            read(path)


def test_a_folder_in_place_of_a_picture_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        read_picture(tmp_path)


def test_decompression_bombs_are_errors(tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png", Image.new("L", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DatasetError, match=r"bomb.png: the picture is too large.*cut it"):
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


def test_pictures_and_what_else_a_folder_holds(tmp_path):
    for name in (
        "a.jpg", "B.JPEG", "deep/er/c.heic", "._a.jpg", "deep/.DS_Store", "__MACOSX/deep/._c.heic", ".hidden/d.png",
        "readme.pdf", "holiday.mov", "no suffix", "boxes.json",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "e.png").write_bytes(b"x")
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.png")
    pictures, others = pictures_in(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in pictures] == [
        "B.JPEG", "a.jpg", "deep/er/c.heic", "folder.png/e.png",
    ]  # fmt: skip
    assert {path.name for path in others} == {
        "._a.jpg", ".DS_Store", "readme.pdf", "holiday.mov", "no suffix", "boxes.json", "broken.png", "pipe.png",
    }  # fmt: skip


@pytest.mark.parametrize("picture_format", sorted(HELD))
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_written_format_opens_at_its_size_or_is_refused_in_one_line(picture_format, mode):
    image = Image.fromarray(PIXELS).convert(mode)
    try:
        data, left_out = encoded(image, picture_format)
    except PictureError as error:
        assert "A" in mode and "holds no transparency" in str(error) and "\n" not in str(error)
        return
    picture = Picture.read(data)
    assert picture.size == image.size and left_out == ()
    assert "A" not in mode or picture_format == "GIF" or picture.alpha is not None
    if picture_format in ("PNG", "TIFF", "BMP", "TGA", "QOI", "SGI", "PPM", "PCX"):
        assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


def test_what_no_decoder_reads_is_not_written():
    with pytest.raises(PictureError, match="AVIF does not hold such a picture"):
        encoded(Image.new("RGB", (33000, 1)), "AVIF")


def test_a_picture_larger_than_pillow_opens_by_default_is_written(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data, _ = encoded(Image.new("RGB", (64, 64)), "PNG")
    assert data.startswith(b"\x89PNG")


def test_what_an_encoder_refuses_is_one_line():
    with pytest.raises(PictureError, match="cannot be written as WEBP: "):
        encoded(Image.new("RGB", (16384, 1)), "WEBP")


def test_suffixes_of_what_is_written():
    assert format_of(".JPG") == "JPEG" and format_of(".heic") == "HEIF"
    assert (
        format_of(".pdf") is None and format_of(".eps") is None and format_of(".psd") is None and format_of("") is None
    )
