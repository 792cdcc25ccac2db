"""What a picture's file says beside its pixels: ICC profile, EXIF, XMP and resolution.

Formats keep these in different places, and cameras and programs write broken ones. Whatever is found is brought to one
form here, and from there to what the format that is written can hold. Nothing raises an error for the sake of metadata:
what cannot be kept is left out, and a line of text says so.
"""

import math
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

MAX_BYTES = 2**24
"""Of each of ICC profile, EXIF and XMP; what is longer is left out."""

_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
# The last two are wrong, but Pillow reads them.
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}  # TIFF's types BYTE, SHORT, LONG, and with a sign
# Bytes of a value by TIFF's types, 0 to 16, as Pillow reads them.
_TYPE_BYTES = dict(enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8)))
_ENTRY_BYTES = 12
_GROUPS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)([0-9])""")
_MAX_DPI = 65_535  # the most that JPEG can say

# What TIFF says of how the pixels are stored. In EXIF these describe the file that a program once read or wrote, and
# they would take the place of the true ones in a TIFF file. Resolution, XMP and ICC profile are kept by themselves.
_STORAGE = frozenset(
    {*range(254, 269), *range(273, 285), *range(286, 294), 296, 297, 300, 301, 317, *range(320, 353), *range(512, 531)}
    | {532, 559, 700, 34675}
)
_RESOLUTION = frozenset({282, 283, 296})
_IPTC, _PHOTOSHOP = 33723, 34377
_LONGEST_TIFF_TAG = 2**14  # longer ones are programs' own data, such as layers


@dataclass(frozen=True)
class Metadata:
    """Metadata of an upright picture.

    icc: the profile. exif: what a JPEG file holds in its segment APP1, `Exif`, two zeros and a TIFF structure,
    without orientation. xmp: the packet, XML. dpi: dots per inch across and down, rounded to hundredths.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def info(self) -> dict[str, Any]:
        """What there is, by the keys of Pillow's `Image.info`."""
        named: dict[str, Any] = {
            "icc_profile": self.icc,
            "exif": self.exif,
            "xmp": self.xmp,
            "dpi": self.dpi,
        }
        return {key: value for key, value in named.items() if value}


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of the stored pixels, 1 to 8; 1 where the file says nothing sensible. Damaged EXIF may still say it.

    Where EXIF does not say, XMP may. An image of a TIFF file must not be loaded yet: Pillow turns it when it is. One of a PNG
    file must be: EXIF may stand behind the pixels.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        found = tags.get(ExifTags.Base.Orientation)
    else:
        found = _exif_orientation(_raw_exif(image.info) or b"")
        if found is None and (said := _XMP_ORIENTATION.search(_raw_xmp(image.info) or b"")):
            found = int(said[2])
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def read_metadata(image: Image.Image) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of an image, as of upright pixels, and in words what cannot be kept.

    Of a file but TIFF the image must be loaded: PNG may keep metadata behind the pixels. Of TIFF, call it before loading.
    """
    if hasattr(image, "tag_v2"):
        try:
            own_exif, lost = _exif_of_tags(*_sound_tags(image.getexif(), _is_description))
        except Exception:  # Pillow stumbles over damaged directories in a dozen ways
            own_exif, lost = None, True
    else:
        own_exif, lost = _clean_exif(_raw_exif(image.info))
    xmp = _raw_xmp(image.info)
    icc = image.info.get("icc_profile")
    kept: dict[str, bytes | None] = {
        "ICC profile": icc if isinstance(icc, bytes) else None,
        "EXIF": own_exif,
        "XMP": _XMP_ORIENTATION.sub(rb"\g<1>1", xmp) if xmp else None,
    }
    left_out = []
    if lost:
        left_out.append(f"{'part of its' if own_exif else 'its'} EXIF is damaged and is left out")
    for name, data in kept.items():
        if data and len(data) > MAX_BYTES:
            left_out.append(f"its {name} exceeds 16 MiB and is left out")
            kept[name] = None
    icc, exif, xmp = (data or None for data in kept.values())
    return Metadata(icc, exif, xmp, _dpi(image.info)), tuple(left_out)


_WHOLE = {"icc_profile": MAX_BYTES, "exif": MAX_BYTES, "xmp": MAX_BYTES}
_SEGMENT = 65533  # bytes that a segment of a JPEG file holds
HELD: dict[str, dict[str, int]] = {
    "AVIF": _WHOLE,
    "BMP": {},
    "GIF": {},
    "HEIF": _WHOLE,
    "JPEG": {"icc_profile": 255 * (_SEGMENT - 14), "exif": _SEGMENT, "xmp": _SEGMENT - len(_XMP_PREFIX)},
    "JPEG2000": {},
    "PCX": {},
    "PNG": _WHOLE | {"icc_profile": 2**20},  # Pillow refuses to open a file with a longer one
    "PPM": {},
    "QOI": {},
    "SGI": {},
    "TGA": {},
    "TIFF": _WHOLE,
    "WEBP": _WHOLE,
}
"""The formats that are written, and how many bytes of what each of them holds, by the keys of `Image.info`."""

_WITH_RESOLUTION = ("BMP", "JPEG", "PNG", "TIFF")
_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}


def for_format(metadata: Metadata, picture_format: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The keywords with which Pillow's `Image.save` writes the metadata in a format of `HELD`, and in words what it cannot hold.

    A resolution for which a format has no place is left out without a word.
    """
    kept = metadata.info()
    left_out = []
    for key, name in _NAMES.items():
        most = HELD[picture_format].get(key, 0)
        if len(kept.get(key, b"")) > most:
            del kept[key]
            left_out.append(
                f"{picture_format} holds {f'at most {most} bytes of' if most else 'no'} {name}: it is left out"
            )
    if picture_format not in _WITH_RESOLUTION:
        kept.pop("dpi", None)
    if picture_format == "PNG" and "xmp" in kept:
        kept["pnginfo"] = PngInfo()
        kept["pnginfo"].add_itxt("XML:com.adobe.xmp", kept.pop("xmp").decode("utf-8", "replace"))
    if picture_format == "TIFF":
        kept["tiffinfo"] = _tiff_tags(kept.pop("exif", b""), kept.pop("xmp", None), "dpi" in kept)
    return kept, tuple(left_out)


def _tiff_tags(exif: bytes, xmp: bytes | None, with_dpi: bool) -> dict[int, Any]:
    parsed = Image.Exif()
    parsed.load(exif)
    own = _STORAGE - (frozenset() if with_dpi else _RESOLUTION)
    tags, _ = _sound_tags(parsed, lambda tag, value: tag not in own)
    return tags | ({ExifTags.Base.XMLPacket: xmp} if xmp else {})


def _raw_exif(info: Mapping[Any, Any]) -> bytes | None:
    """EXIF from wherever a format keeps it, as it is."""
    for found in (info.get("exif"), _raw_profile(info, "exif"), _raw_profile(info, "APP1")):
        if isinstance(found, bytes) and found and not found.startswith(_XMP_PREFIX):
            return _PREFIX + re.sub(rb"^(Exif\0\0)+", b"", found)
    return None


def _raw_xmp(info: Mapping[Any, Any]) -> bytes | None:
    app1 = _raw_profile(info, "APP1") or b""
    for found in (info.get("xmp"), info.get("XML:com.adobe.xmp"), _raw_profile(info, "xmp"), app1):
        data = found.encode("utf-8", "surrogateescape") if isinstance(found, str) else found
        if isinstance(data, bytes) and data and (data is not app1 or data.startswith(_XMP_PREFIX)):
            return data.removeprefix(_XMP_PREFIX)
    return None


def _raw_profile(info: Mapping[Any, Any], kind: str) -> bytes | None:
    """A profile that ImageMagick keeps in a text of a PNG file: a name, a length and hexadecimal digits."""
    text = info.get(f"Raw profile type {kind}")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex(text.split(None, 2)[2])
    except (IndexError, ValueError):
        return None


def _dpi(info: Mapping[Any, Any]) -> tuple[float, float] | None:
    """One dot per inch is what Pillow gives a TIFF file that does not say."""
    try:
        across, down = (round(float(dots), 2) for dots in tuple(info["dpi"]))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    sensible = all(math.isfinite(dots) and 1 < dots <= _MAX_DPI for dots in (across, down))
    return (across, down) if sensible else None


def _orientation_entry(exif: bytes) -> tuple[str, int, int] | None:
    """struct's byte order, and where the first directory and its entry of the orientation begin; other tags may be damaged."""
    start = len(_PREFIX)
    order = _BYTE_ORDERS.get(exif[start : start + 4])
    if order is None:
        return None
    try:
        first = start + struct.unpack_from(f"{order}L", exif, start + 4)[0]
    except struct.error:
        return None
    for number, (tag, *_) in enumerate(_entries(exif, order, first)):
        if tag == ExifTags.Base.Orientation:
            return order, first, first + 2 + _ENTRY_BYTES * number
    return None


def _entries(exif: bytes, order: str, first: int) -> list[tuple[int, int, int, int]]:
    """Tag, type, count and value or its place, of the entries of the directory at `first`; none that is cut off."""
    try:
        (count,) = struct.unpack_from(f"{order}H", exif, first)
    except struct.error:
        return []
    whole = min(count, (len(exif) - first - 2) // _ENTRY_BYTES)
    return list(struct.iter_unpack(f"{order}HHLL", exif[first + 2 : first + 2 + _ENTRY_BYTES * whole]))


def _exif_orientation(exif: bytes) -> int | None:
    """What the entry says; 0 if that is no whole number."""
    found = _orientation_entry(exif)
    if found is None:
        return None
    order, _, entry = found
    (kind,) = struct.unpack_from(f"{order}H", exif, entry + 2)
    return struct.unpack_from(order + _WHOLE_NUMBERS[kind], exif, entry + 8)[0] if kind in _WHOLE_NUMBERS else 0


def _without_orientation(exif: bytes) -> bytes:
    """The directory closes the gap; whatever lies behind it stays in its place, where offsets point to."""
    found = _orientation_entry(exif)
    if found is None:
        return exif
    order, first, _ = found
    (count,) = struct.unpack_from(f"{order}H", exif, first)
    end = first + 2 + _ENTRY_BYTES * count
    entries = [exif[at : at + _ENTRY_BYTES] for at in range(first + 2, end, _ENTRY_BYTES)]
    tag = struct.pack(f"{order}H", ExifTags.Base.Orientation)
    kept = [entry for entry in entries if not entry.startswith(tag)]
    removed = count - len(kept)
    fewer, following = struct.pack(f"{order}H", len(kept)), exif[end : end + 4]
    return b"".join((exif[:first], fewer, *kept, following, bytes(_ENTRY_BYTES * removed), exif[end + 4 :]))


def _clean_exif(raw: bytes | None) -> tuple[bytes | None, bool]:
    """EXIF that every reader understands, of upright pixels, and whether something had to be left out.

    Sound EXIF loses nothing but the orientation, and all else stays in its place: makers' notes are full of offsets.
    """
    if raw is None or not raw[len(_PREFIX) :].strip(b"\0"):
        return None, False
    raw = _without_orientation(raw)
    try:
        parsed = _parsed(raw)
        tags, lost = _sound_tags(parsed, lambda tag, value: True)
        if not lost:
            return (raw, False) if tags else (None, False)
    except Exception:  # Pillow stumbles over damaged EXIF in a dozen ways
        tags, lost = {}, True
    return _exif_of_tags(tags, lost)


def _parsed(exif: bytes) -> Image.Exif:
    """EXIF as Pillow reads it, which copies each value. Raises ValueError: they overlap, and together exceed the EXIF by far."""
    parsed = Image.Exif()
    start = len(_PREFIX)
    order = _BYTE_ORDERS.get(exif[start : start + 4], "<")

    def copied(place: int) -> int:
        """Bytes of the values of the directory there; a value that is cut off ends Pillow's reading."""
        values = ((count * _TYPE_BYTES.get(kind, 0), at) for _, kind, count, at in _entries(exif, order, start + place))
        return sum(size for size, at in values if size > 4 and start + at + size <= len(exif))

    whole = copied(struct.unpack_from(f"{order}L", exif, start + 4)[0])
    if whole <= len(exif):
        parsed.load(exif)
        for group in _GROUPS:
            with suppress(Exception):  # it is missing or leads nowhere, which `_sound_tags` sees
                whole += copied(parsed[group])
    if whole > len(exif):
        raise ValueError("values overlap")
    return parsed


def _exif_of_tags(tags: Mapping[int, Any], lost: bool) -> tuple[bytes | None, bool]:
    if not tags:
        return None, lost
    built = Image.Exif()
    for tag, value in tags.items():
        built[tag] = value
    return built.tobytes(), lost


def _sound_tags(parsed: Image.Exif, wanted: Callable[[int, Any], bool]) -> tuple[dict[int, Any], bool]:
    """The wanted tags that can be read and written again, those of the groups EXIF and GPS in dicts; whether there are others."""
    tags: dict[int, Any] = {}
    lost = False
    for tag in list(parsed):
        try:
            value = {k: _text(v) for k, v in parsed.get_ifd(tag).items()} if tag in _GROUPS else _text(parsed[tag])
        except Exception:  # whatever a damaged value makes Pillow's reader stumble over
            lost = True
            continue
        if not wanted(tag, value):
            continue
        if tag in _GROUPS:
            value.pop(ExifTags.IFD.Interop, None)  # an offset into what was read
            whole = len(value)
            value = {key: one for key, one in value.items() if _can_be_written(tag, {key: one})}
            lost = lost or len(value) < whole
            if value:
                tags[tag] = value
        elif _can_be_written(tag, value):
            tags[tag] = value
        else:
            lost = True
    return tags, lost


def _text(value: Any) -> Any:
    """Pillow reads text as Latin-1, whatever it is, and writes ASCII alone, but bytes as they are."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _can_be_written(tag: int, value: Any) -> bool:
    alone = Image.Exif()
    alone[tag] = value
    try:
        alone.tobytes()
    except Exception:  # struct.error, TypeError, ZeroDivisionError, ...
        return False
    return True


def _is_description(tag: int, value: Any) -> bool:
    """Whether a tag of a TIFF file belongs to its EXIF."""
    length = len(value) if isinstance(value, bytes | tuple) else 0
    return tag not in _STORAGE | {_IPTC, _PHOTOSHOP} and length <= _LONGEST_TIFF_TAG
