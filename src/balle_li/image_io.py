"""The only reader and writer of pictures: whatever format, depth and orientation a file has, upright 8-bit pixels come out.

Colour profiles are not applied: the numbers in the file are taken as they are, as training and browsers without colour
management do. Whatever a decoder or encoder stumbles over becomes one `PictureError` of one line.
"""

import io
import os
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from balle_li.boxes import upright_turns
from balle_li.errors import BalleLiError, PictureError, in_one_line
from balle_li.files import files_below, printable
from balle_li.image_metadata import HELD, MAX_BYTES, Metadata, for_format, orientation_of, read_metadata

PathLike: TypeAlias = str | os.PathLike[str]

# Photographs and drawings only. Pillow knows some thirty formats more; EPS among them starts an outside program.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF",
    "WEBP",
)  # fmt: skip
SUFFIXES = {
    ".avif": "AVIF", ".bmp": "BMP", ".dib": "DIB", ".gif": "GIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF",
    ".ico": "ICO", ".j2c": "JPEG2000", ".j2k": "JPEG2000", ".jfif": "JPEG", ".jp2": "JPEG2000", ".jpc": "JPEG2000",
    ".jpe": "JPEG", ".jpeg": "JPEG", ".jpf": "JPEG2000", ".jpg": "JPEG", ".jpx": "JPEG2000", ".mpo": "JPEG", ".pbm": "PPM",
    ".pcx": "PCX", ".pfm": "PPM", ".pgm": "PPM", ".png": "PNG", ".pnm": "PPM", ".ppm": "PPM", ".psd": "PSD", ".qoi": "QOI",
    ".sgi": "SGI", ".tga": "TGA", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip
"""Of files that are taken for pictures, by their lower-case suffix; what a file is then read as, its content decides."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_EIGHT_BIT_MODES = frozenset({"L", "LA", "RGB", "RGBA"})
_OTHER_COLOUR_SPACES = frozenset({"CMYK", "YCbCr", "LAB", "HSV"})
_TRANSPOSES = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
_BAND_PIXELS = 2**22
_BLACK_WHITE = "balle_li_black_white"  # a key of `info`
_heif_lock = threading.Lock()

# Pillow refuses PNG files whose ICC profile or text is longer than 1 MiB; those of other formats may be.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_BYTES)
# Pillow reports oddities of metadata as warnings: what matters of them ends in an error, the rest is noise in a log.
warnings.filterwarnings("ignore", module=r"PIL\b")


@dataclass(frozen=True)
class Picture:
    """An upright picture and what its file said of it.

    rgb: uint8 (H, W, 3). grey: its channels are equal. alpha: uint8 (H, W), if any pixel may be transparent.
    left_out: what of its metadata cannot be kept, in words.
    """

    rgb: NDArray[np.uint8]
    grey: bool = False
    alpha: NDArray[np.uint8] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    left_out: tuple[str, ...] = ()

    @classmethod
    def read(cls, source: PathLike | bytes) -> "Picture":
        """The picture in a file, or in its content. Raises PictureError as `opened` does."""
        with opened(source) as image:
            return cls.from_image(image)

    @classmethod
    def from_image(cls, image: Image.Image) -> "Picture":
        """Any Pillow image, turned as its EXIF says; of an animation the current frame.

        Sixteen-bit samples are rounded to eight bits (of sixteen-bit colour Pillow drops the lower eight itself). CMYK,
        YCbCr, LAB and HSV are converted and lose their ICC profile, which no longer describes them.

        Raises PictureError: the image has no pixels, cannot be decoded, or has samples outside [0, 65535], [0, 1] if they
        are floating-point numbers.
        """
        with _one_line():
            if 0 in image.size:
                raise PictureError("the picture has no pixels")
            orientation = _orientation(image)
            # Pillow applies the orientation of a TIFF file as it decodes it, and forgets its tags.
            of_tiff = read_metadata(image) if image.format == "TIFF" else None
            _load(image)
            metadata, left_out = of_tiff or read_metadata(image)
            if image.mode in _OTHER_COLOUR_SPACES:
                metadata = replace(metadata, icc=None)
            if of_tiff is None:
                image = _turned(image, *upright_turns(orientation, 0.0))
            rgb, alpha = _pixels(image)
            return cls(rgb, image.mode in _GREY_MODES, alpha, metadata, left_out)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.rgb.shape[:2]
        return width, height

    def to_image(self) -> Image.Image:
        """A Pillow image of mode L, LA, RGB or RGBA, its `info` holding icc_profile, exif, xmp and dpi as far as there are."""
        image = Image.fromarray(self.rgb)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        image.info.update((key, value) for key, value in self.metadata.info().items())
        return image


def read_picture(path: PathLike, rotation: float = 0.0, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The picture in mode RGB, upright: turned and mirrored as EXIF or `rotation` (degrees counter-clockwise) say.

    Samples become 8-bit RGB as in `Picture.from_image`; transparent parts are laid over white; of an animation the first
    frame is taken. With `at_least`, a (width, height) of the upright picture, a JPEG may come 2, 4 or 8 times smaller,
    averaged while it is decoded, but no smaller than that: much faster for large files.

    Raises PictureError as `opened` does.
    """
    with opened(path) as image:
        mirror, turns = _turns_to_do(image, rotation)
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, at_least[::-1] if turns % 2 else at_least)
        _load(image)
        picture = _eight_bit(image)
        if picture.mode in ("LA", "RGBA"):
            pixels = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels)
        return _turned(picture.convert("RGB"), mirror, turns)


def upright_size(path: PathLike, rotation: float = 0.0) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's header where that says. Raises PictureError as `opened`."""
    with opened(path) as image:
        width, height = image.size
        return (height, width) if _turns_to_do(image, rotation)[1] % 2 else (width, height)


def exif_orientation(path: PathLike) -> int:
    """The EXIF orientation, 1 to 8; 1 when the file says nothing. Raises PictureError as `opened`.

    `boxes.upright_boxes` takes it, to turn boxes drawn on the stored pixels with the picture.
    """
    with opened(path) as image:
        return _orientation(image)


@contextmanager
def opened(source: PathLike | bytes) -> Iterator[Image.Image]:
    """Open a picture file, or the content of one, as a Pillow image of one of `FORMATS`, chosen by the content.

    Raises PictureError, in one line that names the file if there is one, for whatever goes wrong inside the block too: it
    is missing, no picture, damaged, truncated, or so large that it looks like an attack (more than twice Pillow's
    MAX_IMAGE_PIXELS).
    """
    with _one_line(None if isinstance(source, bytes) else printable(source)):
        file: PathLike | io.BytesIO = io.BytesIO(source) if isinstance(source, bytes) else source
        brand = _brand(source)
        if brand in _HEIF_BRANDS:
            _register_heif()
        formats = [name for name in FORMATS if name != "HEIF" or brand in _HEIF_BRANDS]
        try:
            image: Image.Image = Image.open(file, formats=formats)
        except Exception as error:
            if brand in _AVIF_BRANDS:
                image = _avif_without_exif(source)
            elif isinstance(error, UnidentifiedImageError):
                empty = not (len(source) if isinstance(source, bytes) else os.path.getsize(source))
                raise PictureError(
                    "the file is empty" if empty else "not a picture, or of a kind that is not read"
                ) from None
            else:
                raise
        with image:
            if 0 in image.size:
                raise PictureError("the picture has no pixels")
            yield image


def pictures_in(folder: PathLike, suffixes: Collection[str] = SUFFIXES) -> tuple[list[Path], list[Path]]:
    """The files below a folder that have one of the lower-case suffixes, and those that have not; both sorted.

    Hidden files and folders and those of a Mac's archives (`._photo.jpg`, `__MACOSX`) hold no pictures. Links are followed,
    each folder is visited once. A folder that cannot be read is among the files that are none.
    """
    pictures: list[Path] = []
    others: list[Path] = []
    found = files_below(
        folder,
        enters=lambda name: not name.startswith(".") and name != "__MACOSX",
        refused=lambda error: others.append(Path(os.fsdecode(error.filename))),
    )
    for path in found:
        shown = not path.name.startswith(".") and path.suffix.lower() in suffixes and path.is_file()
        (pictures if shown else others).append(path)
    return sorted(pictures), sorted(others)


def format_of(suffix: str) -> str | None:
    """The format that is written under a suffix such as `.png`; None where none is."""
    found = SUFFIXES.get(suffix.lower())
    return found if found in HELD else None


def encoded(image: Image.Image, picture_format: str) -> tuple[bytes, tuple[str, ...]]:
    """An upright picture as a file of one of `HELD`'s formats, with the metadata in `image.info`; in words, what is left out.

    Raises PictureError: the format has no transparency or no place for so many pixels, or its encoder fails.
    """
    if picture_format == "HEIF":
        _register_heif()
    if image.mode in ("LA", "RGBA") and picture_format in ("BMP", "JPEG", "PCX", "PPM"):
        raise PictureError(f"{picture_format} holds no transparency; write PNG, WebP, AVIF or TIFF")
    metadata, damaged = read_metadata(image)
    keywords, left_out = for_format(metadata, picture_format)
    in_colour = image.mode in ("L", "LA") and picture_format in ("QOI", "SGI")
    bare = image.convert("RGBA" if image.mode == "LA" else "RGB") if in_colour else image.copy()
    bare.info = {}  # some encoders take metadata from there by themselves
    with _one_line(fault=f"cannot be written as {picture_format}"):
        try:
            return _saved(bare, picture_format, keywords), damaged + left_out
        except Exception:
            if not keywords:
                raise
            return _saved(bare, picture_format, {}), (f"{picture_format} cannot hold its metadata, which is left out",)


def _saved(image: Image.Image, picture_format: str, keywords: dict[str, Any]) -> bytes:
    """The file, opened once more: not every encoder refuses what its decoder does not read."""
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **keywords)
    data = buffer.getvalue()
    try:
        with Image.open(buffer, formats=[picture_format]) as written:
            size = written.size
    except Image.DecompressionBombError:
        return data
    except Exception:
        size = None
    if size != image.size:
        raise PictureError(f"{picture_format} does not hold such a picture; write PNG or TIFF")
    return data


@contextmanager
def _one_line(name: str | None = None, fault: str = "cannot be decoded") -> Iterator[None]:
    """Turn whatever goes wrong inside the block into a PictureError of one line; a `name` stands before it.

    Pillow's decoders meet damaged files with a dozen kinds of exceptions (OSError, SyntaxError, struct.error, ...).
    """
    before = f"{name}: " if name else ""
    try:
        yield
    except BalleLiError as error:
        raise error if str(error).startswith(before) else PictureError(before + str(error)) from None
    except FileNotFoundError:
        raise PictureError(f"{before}the file does not exist") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise PictureError(
            f"{before}the picture is too large: it has more than {most:.0f} megapixels; cut it"
        ) from None
    except MemoryError:
        raise PictureError(f"{before}the picture does not fit into memory; cut it") from None
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # the file system's
            raise PictureError(f"{before}cannot be read: {error.strerror}") from error
        raise PictureError(f"{before}{fault}: {in_one_line(error)}") from error


def _brand(source: PathLike | bytes) -> bytes:
    """The brand of a file of the HEIF family; nothing of others."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with open(source, "rb") as file:
            head = file.read(12)
    return head[8:12] if head[4:8] == b"ftyp" else b""


def _register_heif() -> None:
    """Teach Pillow HEIC, with the first such file only, as the import is not free."""
    with _heif_lock:
        if "HEIF" not in Image.OPEN:
            import pillow_heif

            pillow_heif.register_heif_opener()


def _avif_without_exif(source: PathLike | bytes) -> Image.Image:
    """An AVIF file again, its EXIF under a name that nobody reads: Pillow does not open the file when it is damaged."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    return Image.open(io.BytesIO(data.replace(b"Exif", b"none", 1)), formats=["AVIF"])


def _load(image: Image.Image) -> None:
    """Decode. A transparent colour of another depth becomes that of the eight bits that Pillow reads.

    Deep grey samples of TIFF stay as they are stored: `info` says which are black and white.
    """
    if image.format == "TIFF" and image.mode[0] in "IF":
        tags = getattr(image, "tag_v2", {})
        most = 1 if image.mode == "F" else 4095 if tags.get(258) == (12,) else 65535  # BitsPerSample
        image.info[_BLACK_WHITE] = (most, 0) if tags.get(262) == 0 else (0, most)  # PhotometricInterpretation
    raw = {str(tile[-1]) for tile in getattr(image, "tile", ())} if image.format == "PNG" else set()
    image.load()
    colour = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(colour, tuple) and ("RGB;16B" in raw or max(colour) > 255):
        image.info["transparency"] = tuple(sample >> 8 for sample in colour)
    for name, most in (("L;2", 3), ("L;4", 15)):
        if name in raw and isinstance(colour, int):
            image.info["transparency"] = (colour & most) * (255 // most)


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        _load(image)  # EXIF may stand behind the pixels
    return orientation_of(image)


def _turns_to_do(image: Image.Image, rotation: float) -> tuple[bool, int]:
    """As `boxes.upright_turns`, less what Pillow does by itself: it opens and loads TIFF files with EXIF applied."""
    orientation = _orientation(image)
    wanted = upright_turns(orientation, rotation)
    if image.format != "TIFF":
        return wanted
    mirrored, turned = upright_turns(orientation, 0.0)
    if wanted == (mirrored, turned):
        return False, 0
    # A mirrored orientation undoes itself when it is applied again; a turn is undone by turning back.
    return mirrored, (wanted[1] + (turned if mirrored else -turned)) % 4


def _turned(image: Image.Image, mirror: bool, turns: int) -> Image.Image:
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(_TRANSPOSES[turns]) if turns else image


def _pixels(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Red, green and blue (H, W, 3) and, if there is any transparency, alpha (H, W); converted in bands to save memory."""
    width, height = image.size
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    alpha: NDArray[np.uint8] | None = None
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = _eight_bit(image.crop((0, top, width, min(top + rows, height))))
        rgb[top : top + rows] = np.asarray(band.convert("RGB"))
        if band.mode in ("LA", "RGBA"):
            alpha = np.empty((height, width), dtype=np.uint8) if alpha is None else alpha
            alpha[top : top + rows] = np.asarray(band.getchannel("A"))
    return rgb, alpha


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in mode L, LA, RGB or RGBA."""
    colour = image.info.get("transparency")
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image, colour if isinstance(colour, int) else None)
    if image.mode == "La":
        return image.convert("LA")
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        try:
            return image.convert(mode + "A")
        except (TypeError, ValueError):  # the transparent colour is none of the image's mode: it means nothing
            image = image.copy()
            del image.info["transparency"]
    return image if image.mode in _EIGHT_BIT_MODES else image.convert(mode)


def _from_deep(image: Image.Image, transparent: int | None) -> Image.Image:
    """Grey samples of 0 to 65535, or of floating-point 0 to 1, to 0 to 255; Pillow's own conversion clips them at 255."""
    samples = np.asarray(image)
    black, white = image.info.get(_BLACK_WHITE, (0, 65535))
    low, high = samples.min(), samples.max()
    if samples.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # nor where one is no number
            raise PictureError("floating-point samples outside [0, 1] have no defined brightness; convert it to 8 bits")
        return Image.fromarray(np.rint(np.abs(samples - black) * 255).astype(np.uint8))
    if low < 0 or high > 65535:
        raise PictureError(f"samples of {low} to {high} are outside the 16-bit range; convert it to 8 bits")
    most = max(black, white)
    grey = Image.fromarray(((255 * np.abs(samples.astype(np.int64) - black) + most // 2) // most).astype(np.uint8))
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return grey
