"""Between Pillow images and what a stream carries: upright 8-bit pixels, alpha, ICC profile, EXIF."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.files import inflate

MAX_METADATA_BYTES = 2**24

_ORIENTATION = 0x0112
_BAND_PIXELS = 2**22
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
_OTHER_COLOUR_SPACES = frozenset({"CMYK", "YCbCr", "LAB", "HSV"})


@dataclass(frozen=True)
class Picture:
    """rgb: uint8 (H, W, 3), upright; grey: its channels are equal; alpha: uint8 (H, W); icc, exif: as Pillow holds them."""

    rgb: NDArray[np.uint8]
    grey: bool
    alpha: NDArray[np.uint8] | None
    icc: bytes | None
    exif: bytes | None

    @classmethod
    def from_image(cls, image: Image.Image, strip: bool) -> "Picture":
        """Bring any Pillow image to 8-bit RGB, turned upright if EXIF says so; with `strip`, drop its ICC profile and EXIF.

        Sixteen-bit pictures keep their upper eight bits. Raises BalleLiError: floating-point or empty pictures.
        """
        if 0 in image.size:
            raise BalleLiError("the picture has no pixels")
        if image.mode == "F":
            raise BalleLiError("floating-point pictures are not supported; convert it to 8 bits first")
        image, exif = _upright(image)
        icc = image.info.get("icc_profile") if image.mode not in _OTHER_COLOUR_SPACES else None
        grey = image.mode in _GREY_MODES
        if image.mode.startswith("I"):
            image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
        rgb, alpha = _pixels(image)
        if strip:
            icc = exif = None
        if max(len(icc or b""), len(exif or b"")) > MAX_METADATA_BYTES:
            raise BalleLiError("the picture's ICC profile or EXIF exceeds 16 MiB; strip it")
        return cls(rgb, grey, alpha, icc or None, exif or None)

    def to_image(self) -> Image.Image:
        """A Pillow image of mode L, LA, RGB or RGBA, its `info` holding icc_profile and exif."""
        image = Image.fromarray(self.rgb)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        if self.icc:
            image.info["icc_profile"] = self.icc
        if self.exif:
            image.info["exif"] = self.exif
        return image


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Code an alpha plane (H, W) without loss: each row's differences from pixel to pixel modulo 256, deflated."""
    return zlib.compress(np.diff(alpha, axis=1, prepend=np.uint8(0)).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The (height, width) plane that `pack_alpha` took. Raises BitstreamError."""
    plane = np.frombuffer(inflate(data, height * width), dtype=np.uint8)
    if plane.size != height * width:
        raise BitstreamError("the alpha channel has the wrong size; the stream is damaged")
    return np.cumsum(plane.reshape(height, width), axis=1, dtype=np.uint8)


def _pixels(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Red, green and blue (H, W, 3) and, if there is any transparency, alpha (H, W); converted in bands to save memory."""
    width, height = image.size
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    alpha = np.empty((height, width), dtype=np.uint8) if image.has_transparency_data else None
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        if alpha is None:
            rgb[top : top + rows] = np.asarray(band.convert("RGB"))
        else:
            rgba = np.asarray(band.convert("RGBA"))
            rgb[top : top + rows], alpha[top : top + rows] = rgba[:, :, :3], rgba[:, :, 3]
    return rgb, alpha


def _upright(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """The image turned as its EXIF orientation says, and its EXIF without that tag."""
    image.load()  # some formats know their EXIF only then
    exif = image.info.get("exif")
    if _orientation(image) == 1:
        return image, exif
    image = ImageOps.exif_transpose(image)
    return image, image.info.get("exif") if exif else None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (
        SyntaxError,
        ValueError,
        TypeError,
        KeyError,
        struct.error,
    ):  # broken EXIF says nothing, and is kept as it is
        return 1
