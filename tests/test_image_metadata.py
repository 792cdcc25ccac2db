"""Metadata of every format, sound and broken: the same tags come out, or a line says what is left out."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from balle_li import image_io
from balle_li.image_io import Picture, encoded, exif_orientation, read_picture, upright_size
from balle_li.image_metadata import HELD, MAX_BYTES, Metadata, for_format

STRIPES = Image.fromarray(
    np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)
)  # 24 by 16
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
ALL = ("AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")


def camera_exif(orientation=1, order="MM"):
    """What a camera writes, in either byte order, with the stored size that only the camera's file had."""
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Software] = "a camera", "1.0"
    exif[ExifTags.Base.ImageWidth], exif[ExifTags.Base.ImageLength] = 4000, 3000
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: "2024:05:06 07:08:09", ExifTags.Base.FNumber: 2.8}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48.0, 51.0, 29.6)}
    return exif.tobytes()


def directory(*entries, order="<", data=b""):
    """EXIF made by hand: `entries` are (tag, type, count, four bytes or a number)."""
    packed = b"".join(
        struct.pack(f"{order}HHL", tag, kind, count)
        + (value if isinstance(value, bytes) else struct.pack(f"{order}L", value))
        for tag, kind, count, value in entries
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + packed + b"\0\0\0\0" + data


def tags(data):
    """Of a written file, as Pillow reads it: Make, date, latitude, and the size of its pixels."""
    image = Image.open(io.BytesIO(data))
    image.load()
    exif = image.getexif()
    exposure, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    return (
        exif.get(ExifTags.Base.Make),
        exposure.get(ExifTags.Base.DateTimeOriginal),
        exposure.get(ExifTags.Base.FNumber),
        tuple(map(float, place.get(ExifTags.GPS.GPSLatitude, ()))),
        exif.get(ExifTags.Base.Orientation, 1),
        image.size,
    )


CAMERAS = ("a camera", "2024:05:06 07:08:09", pytest.approx(2.8), (48.0, 51.0, pytest.approx(29.6)), 1, (24, 16))


def written(picture_format, image=STRIPES, **keywords):
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **keywords)
    return buffer.getvalue()


@pytest.fixture(scope="module", autouse=True)
def heif():
    import pillow_heif

    pillow_heif.register_heif_opener()


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("source", ["AVIF", "HEIF", "JPEG", "PNG", "WEBP"])
def test_the_same_tags_come_out_of_every_format(source, target):
    picture = Picture.read(written(source, exif=camera_exif(), xmp=XMP % 1, icc_profile=b"profile"))
    assert picture.metadata.exif.startswith(b"Exif\0\0") and picture.left_out == ()
    data, left_out = encoded(picture.to_image(), target)
    assert tags(data) == CAMERAS and left_out == ()
    back = Picture.read(data).metadata
    assert back.icc == b"profile" and (source == "PNG" or back.xmp == XMP % 1)


@pytest.mark.parametrize("target", ALL)
def test_tags_of_tiff_files_are_exif_elsewhere(target):
    own = TiffImagePlugin.ImageFileDirectory_v2()
    own[ExifTags.Base.Artist], own[ExifTags.Base.Copyright] = "somebody", "© somebody"
    own[34377] = b"8BIM layers"
    source = written("TIFF", tiffinfo=own, dpi=(200, 100), icc_profile=b"profile", compression="tiff_lzw")
    data, _ = encoded(Picture.read(source).to_image(), target)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.size == (24, 16) and image.getexif()[ExifTags.Base.Artist] == "somebody"
    assert ("somebody" in str(image.getexif()[ExifTags.Base.Copyright])) and 34377 not in image.getexif()
    assert image.info["icc_profile"] == b"profile"
    if target in ("JPEG", "PNG", "TIFF"):
        assert [round(float(dots)) for dots in image.info["dpi"]] == [200, 100]


def test_exif_of_a_camera_becomes_tiff_of_the_right_size():
    data, _ = encoded(Picture.read(written("JPEG", exif=camera_exif(6))).to_image(), "TIFF")
    image = Image.open(io.BytesIO(data))
    assert image.size == (16, 24) and np.asarray(image).shape == (24, 16, 3)
    assert tags(data)[:4] == CAMERAS[:4]


def test_a_resolution_that_stands_in_exif_alone_reaches_tiff():
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 240.0
    exif[ExifTags.Base.ResolutionUnit] = 2
    data, _ = encoded(Picture.read(written("WEBP", exif=exif)).to_image(), "TIFF")
    assert [float(dots) for dots in Image.open(io.BytesIO(data)).info["dpi"]] == [240, 240]


@pytest.mark.parametrize("order", ["MM", "II"])
def test_sound_exif_loses_its_orientation_and_nothing_else_moves(order):
    exif = camera_exif(6, order) + b"a maker's note, found by its offset"
    kept = Picture.read(written("JPEG", exif=exif)).metadata.exif
    before, after = Image.Exif(), Image.Exif()
    before.load(exif)
    after.load(kept)
    assert dict(after) == {tag: value for tag, value in before.items() if tag != ExifTags.Base.Orientation}
    assert len(kept) == len(exif) and kept[-150:] == exif[-150:]


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("source", ["JPEG", "TIFF"])
def test_text_of_any_encoding_keeps_its_bytes(source, target):
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright], exif[ExifTags.Base.Artist] = "© Ärzte".encode(), "Ärzte".encode("latin-1")
    exif[ExifTags.Base.Orientation] = 6
    data, _ = encoded(Picture.read(written(source, exif=exif)).to_image(), target)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.getexif()[ExifTags.Base.Copyright].encode("latin-1").decode() == "© Ärzte"
    assert image.getexif()[ExifTags.Base.Artist] == "Ärzte"


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_exif_has_one_prefix_whatever_it_came_with(prefix):
    image = STRIPES.copy()
    image.info["exif"] = prefix + camera_exif()[6:]
    kept = Picture.from_image(image).metadata.exif
    assert (
        kept.startswith(b"Exif\0\0MM\0*") and tags(encoded(Picture.from_image(image).to_image(), "JPEG")[0]) == CAMERAS
    )


def raw_profile(kind, data):
    text = f"\n{kind}\n{len(data):8}\n" + "\n".join(data.hex()[i : i + 72] for i in range(0, 2 * len(data), 72)) + "\n"
    return f"Raw profile type {kind}", text


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["exif", "APP1"])
def test_exif_that_imagemagick_hides_in_a_text(kind, compressed):
    info = PngImagePlugin.PngInfo()
    info.add_text(*raw_profile(kind, camera_exif(6)), zip=compressed)
    data = written("PNG", pnginfo=info)
    picture = Picture.read(data)
    assert picture.size == (16, 24)
    assert tags(encoded(picture.to_image(), "JPEG")[0])[:4] == CAMERAS[:4]


def test_xmp_that_imagemagick_hides_in_a_text():
    for kind, data in (("xmp", XMP % 1), ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP % 1)):
        info = PngImagePlugin.PngInfo()
        info.add_text(*raw_profile(kind, data))
        picture = Picture.read(written("PNG", pnginfo=info))
        assert picture.metadata == Metadata(xmp=XMP % 1) and picture.left_out == ()


def test_a_text_that_is_no_profile_is_none():
    for text in ("", "exif", "\nexif\n  4\nzz", "\nexif\n  4"):
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", text)
        assert Picture.read(written("PNG", pnginfo=info)).metadata == Metadata()


def test_metadata_behind_the_pixels_of_a_png(tmp_path):
    plain, exif = written("PNG"), camera_exif(6)[6:]
    chunk = b"eXIf" + exif
    late = plain[:-12] + len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + plain[-12:]
    path = tmp_path / "late.png"
    path.write_bytes(late)
    assert Picture.read(path).size == read_picture(path).size == upright_size(path) == (16, 24)
    assert tags(encoded(Picture.read(path).to_image(), "JPEG")[0])[:4] == CAMERAS[:4]


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    path.write_bytes(written("JPEG", exif=directory((274, 3, 1, orientation))))
    assert Picture.read(path).size == read_picture(path).size == (24, 16) and exif_orientation(path) == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
def test_an_orientation_may_be_any_whole_number(kind, order):
    value = struct.pack(order + {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}[kind], 6).ljust(4, b"\0")
    picture = Picture.read(written("JPEG", exif=directory((274, kind, 1, value), order=order)))
    assert picture.size == (16, 24)
    assert tags(encoded(picture.to_image(), "JPEG")[0])[4] == 1


def test_an_orientation_that_is_no_whole_number_is_not_passed_on():
    exif = directory((274, 5, 1, 26), data=struct.pack("<LL", 6, 1))
    picture = Picture.read(written("JPEG", exif=exif))
    for target in ALL:
        opened = Image.open(io.BytesIO(encoded(picture.to_image(), target)[0]))
        assert picture.size == opened.size == (24, 16) and opened.getexif().get(274, 1) == 1


def test_xmp_turns_where_exif_does_not_say_and_then_says_upright():
    for quoted in (XMP % 6, (XMP % 6).replace(b'="6"', b"='6'"), b"<tiff:Orientation>6</tiff:Orientation>"):
        picture = Picture.read(written("JPEG", xmp=quoted))
        assert picture.size == (16, 24) and picture.metadata.xmp == quoted.replace(b"6", b"1")
    assert Picture.read(written("JPEG", xmp=XMP % 6, exif=camera_exif(1))).size == (24, 16)


BROKEN = {
    "nothing but a prefix": b"Exif\0\0",
    "four bytes": b"Exif\0\0II*\0",
    "garbage": b"Exif\0\0garbage-garbage-",
    "a directory beyond the end": b"Exif\0\0II*\0\xff\xff\xff\xff\x00\x01",
    "cut in the directory": directory((274, 3, 1, 6), (271, 2, 400, 40))[:-14],
    "a value beyond the end": directory((274, 3, 1, 6), (271, 2, 400, 60_000)),
    "a count beyond all": directory((274, 3, 1, 6), (282, 5, 2**31, 40)),
    "a rational over zero": directory((274, 3, 1, 6), (282, 5, 1, 62), (283, 5, 1, 62), data=bytes(16)),
    "a resolution in letters": directory((274, 3, 1, 6), (282, 2, 4, b"many"), (296, 2, 4, b"abc\0")),
    "groups that lead nowhere": directory((274, 3, 1, 6), (34665, 4, 1, 2**31), (34853, 2, 4, b"here")),
    "a group that is itself": directory((274, 3, 1, 6), (34665, 4, 1, 8)),
    "an unknown type": directory((274, 3, 1, 6), (271, 99, 1, 1)),
}


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("name", BROKEN)
def test_broken_exif_costs_neither_the_picture_nor_its_turn(name, target, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(written("JPEG", exif=BROKEN[name], dpi=(300, 300)))
    size = (16, 24) if BROKEN[name][16:18] == b"\x12\x01" else (24, 16)
    picture = Picture.read(path)
    assert picture.size == read_picture(path).size == upright_size(path) == size
    data, _ = encoded(picture.to_image(), target)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.size == size
    assert dict(image.getexif()).get(274, 1) == 1
    assert Picture.read(data).left_out == ()  # what was written is sound


def test_what_of_broken_exif_is_left_out_is_said():
    def said(exif):
        return Picture.read(written("JPEG", exif=exif)).left_out

    assert said(BROKEN["garbage"]) == ("its EXIF is damaged and is left out",)
    assert said(camera_exif()) == said(BROKEN["nothing but a prefix"]) == ()


def test_of_partly_broken_exif_the_rest_is_kept():
    exif = directory((271, 2, 4, b"mine"), (282, 2, 4, b"many"), (305, 5, 1, b"\x01\0\0\0"))
    picture = Picture.read(written("JPEG", exif=exif))
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert parsed[271] == "mine"


@pytest.mark.parametrize("source", ["AVIF", "WEBP", "PNG", "HEIF"])
def test_broken_exif_of_other_formats(source):
    sound = written(source, exif=camera_exif())
    broken = sound.replace(camera_exif()[6:14], b"garbage!")
    if source == "PNG":  # or its checksum is wrong
        info = PngImagePlugin.PngInfo()
        info.add(b"eXIf", b"garbage!" * 4)
        broken = written("PNG", pnginfo=info)
    assert broken != sound
    picture = Picture.read(broken)
    assert picture.size == (24, 16) and picture.metadata.exif is None


def test_a_directory_of_nothing_but_orientations_is_read_in_one_pass():
    """With a pass over all bytes for each entry this takes minutes."""
    exif = directory(*[(274, 3, 1, 6)] * 30_000, (271, 2, 4, b"mine"), data=bytes(2**22))
    image = STRIPES.copy()
    image.info["exif"] = exif
    kept = Picture.from_image(image).metadata.exif
    parsed = Image.Exif()
    parsed.load(kept)
    assert dict(parsed) == {271: "mine"} and len(kept) == len(exif)


@pytest.mark.parametrize("group", [None, 34665, 34853])
@pytest.mark.parametrize("head", [b"II*\0", b"II\0*"])
def test_values_that_overlap_do_not_fill_the_memory(group, head):
    size, count = 2**22, 40
    overlapping = directory(*[(0x9000 + number, 7, size, 100) for number in range(count)])
    exif = overlapping if group is None else directory((group, 4, 1, 26)) + overlapping[14:]
    image = STRIPES.copy()
    image.info["exif"] = exif[:6] + head + exif[10:] + bytes(size)
    tracemalloc.start()
    picture = Picture.from_image(image)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * size
    assert picture.metadata.exif is None and picture.left_out == ("its EXIF is damaged and is left out",)


def test_what_a_format_cannot_hold_is_left_out_and_said():
    long_exif = Image.Exif()
    long_exif[270] = "x" * 70_000
    metadata = Metadata(b"i" * (2**20 + 1), long_exif.tobytes(), b"<x>" + b" " * 70_000, (300.0, 300.0))
    image = Picture(np.asarray(STRIPES), metadata=metadata).to_image()
    lines = {
        "JPEG": ["JPEG holds at most 65533 bytes of EXIF", "JPEG holds at most 65504 bytes of XMP"],
        "PNG": ["PNG holds at most 1048576 bytes of ICC profile"],
        "TIFF": [],
        "WEBP": [],
        "AVIF": [],
        "BMP": ["BMP holds no ICC profile", "BMP holds no EXIF", "BMP holds no XMP"],
    }
    for picture_format, expected in lines.items():
        data, left_out = encoded(image, picture_format)
        assert [line.split(":")[0] for line in left_out] == expected, picture_format
        opened = Image.open(io.BytesIO(data))
        opened.load()
        assert opened.size == (24, 16)


def test_a_long_profile_in_a_png_is_read():
    pixels = written("PNG")
    profile = np.random.default_rng(0).bytes(2**20 + 2**10)
    chunk = b"iCCP" + b"long\0\0" + zlib.compress(profile)
    end_of_header = 8 + 25
    data = (
        pixels[:end_of_header]
        + (len(chunk) - 4).to_bytes(4, "big")
        + chunk
        + zlib.crc32(chunk).to_bytes(4, "big")
        + pixels[end_of_header:]
    )
    assert Picture.read(data).metadata.icc == profile


def test_what_is_longer_than_a_stream_may_hold_is_left_out_and_said():
    image = STRIPES.copy()
    image.info["icc_profile"] = bytes(MAX_BYTES + 1)
    picture = Picture.from_image(image)
    assert picture.metadata.icc is None and picture.left_out == ("its ICC profile exceeds 16 MiB and is left out",)


@pytest.mark.parametrize("dpi", [(0, 0), (1, 1), (float("nan"), 72), (float("inf"), 72), "many", None, (72,), (-3, 5)])
def test_a_resolution_that_is_none(dpi):
    image = STRIPES.copy()
    image.info["dpi"] = dpi
    assert Picture.from_image(image).metadata.dpi is None


@pytest.mark.parametrize("keywords", [{"exif": object()}, {"tiffinfo": {256: 4000}}])
def test_metadata_that_an_encoder_cannot_write_costs_no_picture(monkeypatch, keywords):
    monkeypatch.setattr(image_io, "for_format", lambda metadata, picture_format: (keywords, ()))
    data, left_out = encoded(STRIPES, "TIFF")
    assert Image.open(io.BytesIO(data)).size == (24, 16)
    assert left_out == ("TIFF cannot hold its metadata, which is left out",)


def test_every_written_format_says_what_it_holds():
    assert for_format(Metadata(), "PPM") == ({}, ())
    for picture_format in HELD:
        keywords, left_out = for_format(Metadata(b"icc", camera_exif(), b"<x/>", (300.0, 300.0)), picture_format)
        tags = keywords.get("tiffinfo", {})
        assert (
            len(left_out) + len(keywords.keys() - {"dpi", "tiffinfo"}) + ("a camera" in tags.values()) + (700 in tags)
            == 3
        )
