"""Reading pictures: whatever format, depth and orientation a file has, an upright 8-bit RGB picture comes out.

Colour profiles are not applied: the numbers in the file are taken as they are, as training and browsers without colour
management do.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from balle_li.boxes import upright_turns
from balle_li.errors import DatasetError

PathLike: TypeAlias = str | os.PathLike[str]

# Photographs and drawings only. Pillow knows some forty formats more; EPS among them starts an outside program.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx", b"mif1", b"msf1")
_heif_lock = threading.Lock()

# Pillow reports oddities of metadata as warnings: what matters of them ends in an error, the rest is noise in a log.
warnings.filterwarnings("ignore", module=r"PIL\b")


def read_picture(path: PathLike, rotation: float = 0.0, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The picture in mode RGB, upright: turned and mirrored as EXIF or `rotation` (degrees counter-clockwise) say.

    16-bit samples are scaled to 8 bits, grey, palette, CMYK and others converted, transparent parts laid over white;
    of an animation the first frame is taken. With `at_least`, a (width, height) of the upright picture, a JPEG may
    come 2, 4 or 8 times smaller, averaged while it is decoded, but no smaller than that: much faster for large files.

    Raises DatasetError, in one line that names the file: it is missing, no picture, damaged, truncated, or so large
    that it looks like an attack (more than twice Pillow's MAX_IMAGE_PIXELS).
    """
    with _opened(path) as image:
        mirror, turns = _turns_to_do(image, rotation)
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, at_least[::-1] if turns % 2 else at_least)
        image.load()
        picture = _as_rgb(image)
        if mirror:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return picture.transpose(_TRANSPOSES[turns]) if turns else picture


def upright_size(path: PathLike, rotation: float = 0.0) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's header alone. Raises DatasetError as `read_picture`."""
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if _turns_to_do(image, rotation)[1] % 2 else (width, height)


def exif_orientation(path: PathLike) -> int:
    """The EXIF orientation, 1 to 8; 1 when the file says nothing. Raises DatasetError as `read_picture`.

    `boxes.upright_boxes` takes it, to turn boxes drawn on the stored pixels with the picture.
    """
    with _opened(path) as image:
        return _orientation(image)


_TRANSPOSES = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


@contextmanager
def _opened(path: PathLike) -> Iterator[Image.Image]:
    """Open a picture and turn whatever goes wrong inside the block into one DatasetError.

    Pillow's decoders meet damaged files with a dozen kinds of exceptions (OSError, SyntaxError, struct.error, ...).
    """
    try:
        with Image.open(path, formats=(*FORMATS, "HEIF") if _is_heif(path) else FORMATS) as image:
            if image.width < 1 or image.height < 1:
                raise DatasetError(f"{path}: the picture has no pixels")
            yield image
    except DatasetError as error:
        raise error if str(path) in str(error) else DatasetError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DatasetError(f"{path}: the file does not exist") from None
    except UnidentifiedImageError:
        what = "not a picture, or of a kind that cannot be read" if os.path.getsize(path) else "the file is empty"
        raise DatasetError(f"{path}: {what}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: cannot be decoded: {reason}") from error


def _is_heif(path: PathLike) -> bool:
    """Whether the file is HEIC; Pillow learns to read it with the first such file only, as the import is not free."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return False
    with _heif_lock:
        if "HEIF" not in Image.OPEN:
            import pillow_heif

            pillow_heif.register_heif_opener()
    return True


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data says nothing, but the pixels may be whole
        return 1
    return orientation if orientation in range(1, 9) else 1


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


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    elif image.mode == "F":
        image = _from_float(image)
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        white = Image.new("RGBA", pixels.size, "white")
        return Image.alpha_composite(white, pixels).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Grey samples of 0..65535 to 0..255; Pillow's own conversion of these modes clips them at 255 instead."""
    samples = np.asarray(image).astype(np.int64)
    if samples.min() < 0 or samples.max() > 65535:
        raise DatasetError(f"samples of {samples.min()} to {samples.max()} are outside the 16-bit range")
    return Image.fromarray(((samples + 128) // 257).astype(np.uint8))


def _from_float(image: Image.Image) -> Image.Image:
    """Grey samples of 0..1 to 0..255."""
    samples = np.asarray(image)
    if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > 1:
        raise DatasetError("floating-point samples outside [0, 1] have no defined brightness")
    return Image.fromarray(np.rint(samples * 255).astype(np.uint8))
