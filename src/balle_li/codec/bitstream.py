"""The container of a compressed picture: header, sections, checksum. docs/bitstream.md specifies every byte."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from balle_li.errors import BitstreamError
from balle_li.files import inflate
from balle_li.image_metadata import MAX_BYTES, Metadata
from balle_li.latents import Section, Sections

MAGIC = b"\xbaBLI"
VERSION = 2
MAX_PIXELS = 2**28

_LAST = 0x80
_FIRST_OPTIONAL = 0x40  # a decoder may skip tags from here on that it does not know, never a smaller one
_GREY = 0x01
_MAX_VARINT_BYTES = 5
_LEAST_BYTES = 21  # a picture of one pixel with an empty section
_DAMAGED = "the stream is damaged or cut short; fetch it again"


class Extra(IntEnum):
    """The container's own sections; those of the latent codec have tags 1 to 15 (`latents/__init__.py`)."""

    ALPHA = 16
    ICC = 64
    EXIF = 65
    XMP = 66
    RESOLUTION = 67


_KNOWN = frozenset(int(tag) for tag in (*Section, *Extra))
NAMES = {int(tag): tag.name.lower() for tag in (*Section, *Extra)}


@dataclass(frozen=True)
class Stream:
    """A compressed picture taken apart.

    fingerprint: the 8 bytes of the model that made it; width, height: pixels, width · height at most 2^28;
    grey: the picture returns with one colour channel; sections: tag to content, latents last.
    """

    fingerprint: bytes
    width: int
    height: int
    grey: bool
    sections: Mapping[int, bytes]

    @property
    def mode(self) -> str:
        """Pillow's name for the colour of the picture: L, LA, RGB or RGBA."""
        return ("L" if self.grey else "RGB") + ("A" if Extra.ALPHA in self.sections else "")

    def pack(self) -> bytes:
        """The stream as bytes."""
        parts = [MAGIC, bytes([VERSION, _GREY if self.grey else 0]), self.fingerprint]
        parts += [_varint(self.width), _varint(self.height)]
        *others, (last, content) = self.sections.items()
        for tag, data in others:
            parts += [bytes([tag]), _varint(len(data)), data]
        parts += [bytes([last | _LAST]), content]
        body = b"".join(parts)
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def unpack(cls, data: bytes) -> "Stream":
        """Take `data` apart. Raises BitstreamError when it is not a whole, undamaged stream of this version."""
        if data[:4] != MAGIC:
            raise BitstreamError("this is not a Balle-Li stream: it does not begin with its signature")
        if len(data) < 5 or data[4] != VERSION:
            found = f"format version {data[4]}" if len(data) > 4 else "no format version"
            raise BitstreamError(
                f"the stream has {found}, this program reads version {VERSION}; use a matching balle-li"
            )
        if len(data) < _LEAST_BYTES or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise BitstreamError(_DAMAGED)
        flags, fingerprint, reader = data[5], data[6:14], _Reader(data[:-4], 14)
        if flags & ~_GREY:
            raise BitstreamError("the stream uses a feature that this version of balle-li does not know")
        width, height = reader.varint(), reader.varint()
        if not (width and height and width * height <= MAX_PIXELS):
            raise BitstreamError(f"the stream claims {width}x{height} pixels; between 1 and 2^28 are possible")
        return cls(fingerprint, width, height, bool(flags), reader.sections())


def pack_metadata(metadata: Metadata) -> Sections:
    """The sections of what there is."""
    deflated = {Extra.ICC: metadata.icc, Extra.EXIF: metadata.exif, Extra.XMP: metadata.xmp}
    sections: Sections = {int(tag): zlib.compress(data, 9) for tag, data in deflated.items() if data}
    if metadata.dpi:
        sections[Extra.RESOLUTION] = b"".join(_varint(round(100 * dots)) for dots in metadata.dpi)
    return sections


def unpack_metadata(sections: Mapping[int, bytes]) -> Metadata:
    """The metadata that the sections of a stream hold. Raises BitstreamError."""
    icc, exif, xmp = (
        inflate(sections[tag], MAX_BYTES) if tag in sections else None for tag in (Extra.ICC, Extra.EXIF, Extra.XMP)
    )
    dpi = None
    if Extra.RESOLUTION in sections:
        reader = _Reader(sections[Extra.RESOLUTION], 0)
        dpi = reader.varint() / 100, reader.varint() / 100
    return Metadata(icc, exif, xmp, dpi if dpi and all(dpi) else None)


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def varint(self) -> int:
        value = 0
        for place in range(_MAX_VARINT_BYTES):
            octet = self.take(1)[0]
            value |= (octet & 127) << (7 * place)
            if octet < 128:
                return value
        raise BitstreamError(_DAMAGED)

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._position:
            raise BitstreamError(_DAMAGED)
        self._position += size
        return self._data[self._position - size : self._position]

    def sections(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        while True:
            octet = self.take(1)[0]
            tag, last = octet & ~_LAST, octet & _LAST
            size = len(self._data) - self._position if last else self.varint()
            if tag in found:
                raise BitstreamError(_DAMAGED)
            if tag < _FIRST_OPTIONAL and tag not in _KNOWN:
                raise BitstreamError("the stream uses a feature that this version of balle-li does not know")
            found[tag] = self.take(size)
            if last:
                return found


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)
