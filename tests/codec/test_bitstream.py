import zlib

import pytest

from balle_li.codec.bitstream import MAGIC, Extra, Stream, pack_metadata, unpack_metadata
from balle_li.errors import BitstreamError
from balle_li.image_metadata import Metadata
from balle_li.latents import Section

SOUND = Stream(b"8 bytes!", 768, 512, False, {Extra.ICC: b"profile", Section.LATENTS: b"latents" * 50})


def sealed(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_a_stream_comes_back():
    for stream in (SOUND, Stream(b"\0" * 8, 1, 2**28, True, {Extra.ALPHA: b"", Section.LATENTS: b""})):
        assert Stream.unpack(stream.pack()) == stream


def test_a_plain_picture_spends_23_bytes_on_the_container():
    assert len(Stream(b"8 bytes!", 768, 512, False, {Section.LATENTS: bytes(20000)}).pack()) == 20023


@pytest.mark.parametrize(("grey", "alpha", "mode"), [(1, 0, "L"), (1, 1, "LA"), (0, 0, "RGB"), (0, 1, "RGBA")])
def test_modes(grey, alpha, mode):
    assert Stream(b"8 bytes!", 1, 1, bool(grey), {16: b"", 1: b""} if alpha else {1: b""}).mode == mode


def test_every_truncation_and_every_flipped_bit_is_noticed():
    data = SOUND.pack()
    damaged = [data[:size] for size in range(len(data))]
    damaged += [data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :] for i in range(len(data)) for bit in range(8)]
    for stream in [*damaged, data + b"\0"]:
        with pytest.raises(BitstreamError) as error:
            Stream.unpack(stream)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x89PNG" + bytes(30), "not a Balle-Li stream"),
        (MAGIC + b"\x01" + bytes(30), "version 1, this program reads version 2"),
        (MAGIC + b"\x02\x02" + b"8 bytes!" + b"\x01\x01\x81", "feature"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\x01\x00\x81xx", "pixels"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\xff\xff\xff\xff\x7f" * 2 + b"\x81", "pixels"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\x81\x80\x80\x80\x80\x00\x01\x81", "damaged"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\x01\x01\x01\x7fshort", "damaged"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\x01\x01\x01\x00\x81", "damaged"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\x01\x01\x01\x01xx", "damaged"),
        (MAGIC + b"\x02\x00" + b"8 bytes!" + b"\x01\x01\x07\x00\x81", "feature"),
    ],
)
def test_headers_that_lie_are_refused(body, words):
    with pytest.raises(BitstreamError, match=words):
        Stream.unpack(sealed(body))


def test_unknown_optional_sections_are_kept_aside():
    assert Stream.unpack(Stream(b"8 bytes!", 1, 1, False, {99: b"later", 1: b""}).pack()).sections == {
        99: b"later",
        1: b"",
    }


def test_metadata_comes_back():
    for metadata in (
        Metadata(),
        Metadata(icc=b"icc", exif=b"exif", xmp=b"xmp", dpi=(300.0, 0.25)),
        Metadata(xmp=b"xmp"),
    ):
        assert unpack_metadata(pack_metadata(metadata)) == metadata


@pytest.mark.parametrize("sections", [{64: b"?"}, {65: b""}, {66: zlib.compress(bytes(2**24 + 1))}, {67: b"\x05"}])
def test_damaged_metadata_is_refused(sections):
    with pytest.raises(BitstreamError):
        unpack_metadata(sections)


def test_a_resolution_of_nothing_is_none():
    assert unpack_metadata({67: b"\0\5"}) == Metadata()
