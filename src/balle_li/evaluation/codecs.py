"""The classical codecs that a model is compared with: each writes and reads real files, by the library that users have.

A codec is one class under a name, in this package or in another (entry point `balle_li.codecs`). Chroma is kept at full
resolution (4:4:4) where a codec can; JPEG comes also as everyone meets it, with 4:2:0. Every dial sets a quality, not a
size: curves averaged at equal sizes per picture come out several per cent of BD-rate better.
"""

import functools
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL import __version__ as pillow_version

from balle_li.errors import BalleLiError, ConfigError, in_one_line
from balle_li.registry import CODECS

_Class = TypeVar("_Class", bound=type)


class ClassicalCodec(ABC):
    """Base of all classical codecs: a codec with one dial.

    title: how readers know it. dial: what the number stands for, at `{}`, and every setting that stays fixed.
    qualities: its sweep, from small files to large ones. largest_side: pixels that the format can hold; None: enough.
    package: what has to be installed for it with pip, where that is none of the project's requirements.
    """

    title: ClassVar[str]
    suffix: ClassVar[str]
    dial: ClassVar[str]
    qualities: ClassVar[tuple[float, ...]]
    largest_side: ClassVar[int | None] = None
    package: ClassVar[str | None] = None
    name: str = ""

    @abstractmethod
    def library(self) -> str:
        """The encoder and its version: results of another version are measured again."""

    @abstractmethod
    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        """Write an RGB picture to a file at a quality of the dial."""

    def decode(self, path: Path) -> Image.Image:
        """Read the file back as an RGB picture."""
        with Image.open(path) as image:
            return image.convert("RGB")

    @classmethod
    def is_installed(cls) -> bool:
        """Whether its package, if it needs one, is there."""
        try:
            return cls.package is None or bool(version(cls.package))
        except PackageNotFoundError:
            return False

    def setting(self, quality: float) -> str:
        """The whole setting in words, such as `quality 32, 4:2:0`."""
        return self.dial.format(f"{quality:g}")


class Trip(NamedTuple):
    """What came of a picture's way through a file: uint8 RGB `(H, W, 3)`, the file's bytes, and the seconds it took."""

    decoded: NDArray[np.uint8]
    stream_bytes: int
    encode_seconds: float
    decode_seconds: float


def register_codec(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: params.yaml may name the codec `name`."""
    return functools.partial(CODECS.add, name)


def installed_codecs(names: Iterable[str] | None = None) -> dict[str, ClassicalCodec]:
    """Those of the codecs `names`, all by default, whose packages are installed. Raises ConfigError: a name is unknown."""
    chosen = {name: CODECS.get(name) for name in dict.fromkeys(CODECS.names() if names is None else names)}
    return {name: codec(name) for name, cls in chosen.items() if cls.is_installed()}


def codec(name: str) -> ClassicalCodec:
    """The codec of that name. Raises ConfigError: there is none, its package is not installed, or it is no codec."""
    cls = CODECS.get(name)
    if not (isinstance(cls, type) and issubclass(cls, ClassicalCodec)):
        raise ConfigError(f"classical codec {name!r} is no subclass of balle_li.evaluation.codecs.ClassicalCodec")
    if not cls.is_installed():
        raise ConfigError(f"{cls.title} is left out: it needs `pip install {cls.package}`")
    made: ClassicalCodec = cls()
    made.name = name
    return made


def codec_title(name: str) -> str:
    """How readers know a codec; the name itself where it is not one of these, as with a model's."""
    return str(CODECS.get(name).title) if name in CODECS.names() else name


def round_trip(pixels: NDArray[np.uint8], codec: ClassicalCodec, quality: float) -> Trip:
    """Send uint8 RGB `(H, W, 3)` through a real file and back.

    Raises BalleLiError: the codec cannot take the picture, whatever its library says or does.
    """
    height, width = pixels.shape[:2]
    if codec.largest_side is not None and max(height, width) > codec.largest_side:
        raise BalleLiError(f"{codec.title} holds at most {codec.largest_side:,} pixels a side")
    try:
        with tempfile.TemporaryDirectory(prefix="balle-li-") as folder:
            path = Path(folder) / f"picture{codec.suffix}"
            image, start = Image.fromarray(pixels), time.perf_counter()
            codec.encode(image, quality, path)
            encoded = time.perf_counter()
            decoded = np.asarray(codec.decode(path))
            seconds = encoded - start, time.perf_counter() - encoded
            trip = Trip(decoded, path.stat().st_size, *seconds)
    except Exception as error:  # encoders refuse pictures with any kind of exception
        raise BalleLiError(f"{codec.title} fails at {codec.setting(quality)}: {in_one_line(error)}") from error
    if decoded.shape != pixels.shape:
        raise BalleLiError(
            f"{codec.title} returns {decoded.shape[1]} × {decoded.shape[0]} of {width} × {height} pixels"
        )
    return trip


class _PillowCodec(ClassicalCodec):
    feature: ClassVar[str]

    def library(self) -> str:
        return f"{self.feature} {features.version(self.feature)}, Pillow {pillow_version}"


@register_codec("jpeg")
class Jpeg(_PillowCodec):
    title, suffix, dial, feature = "JPEG", ".jpg", "quality {}, 4:2:0", "libjpeg_turbo"
    qualities = (4, 8, 12, 16, 20, 24, 32, 40, 50, 60, 70, 80, 90)
    largest_side = 65_500
    subsampling: ClassVar[str] = "4:2:0"

    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        image.save(path, "JPEG", quality=int(quality), subsampling=self.subsampling)


@register_codec("jpeg-444")
class Jpeg444(Jpeg):
    title, dial, subsampling = "JPEG 4:4:4", "quality {}, 4:4:4", "4:4:4"


@register_codec("jpeg2000")
class Jpeg2000(_PillowCodec):
    title, suffix, dial, feature = "JPEG 2000", ".jp2", "{} dB, 9/7 wavelet, 4:4:4", "jpg_2000"
    qualities = (24, 26, 28, 30, 32, 34, 36, 38, 40)

    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        image.save(path, "JPEG2000", quality_mode="dB", quality_layers=[quality], irreversible=True, mct=1)


@register_codec("webp")
class WebP(_PillowCodec):
    title, suffix, dial, feature = "WebP", ".webp", "quality {}, method 6, 4:2:0", "webp"
    qualities = (1, 5, 10, 20, 35, 50, 65, 80, 90, 95)
    largest_side = 16_383

    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        image.save(path, "WEBP", quality=int(quality), method=6)


@register_codec("avif")
class Avif(_PillowCodec):
    title, suffix, dial, feature = "AVIF", ".avif", "quality {}, speed 4, 4:4:4", "avif"
    qualities = (5, 12, 20, 30, 40, 50, 60, 70, 80)
    largest_side = 32_768  # libavif writes larger ones, but does not read them

    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        image.save(path, "AVIF", quality=int(quality), subsampling="4:4:4", speed=4)


@register_codec("hevc")
class Hevc(ClassicalCodec):
    title, suffix, dial = "HEVC intra", ".heic", "quality {}, preset slow, tune psnr, 4:4:4"
    qualities = (2, 6, 10, 15, 20, 30, 40, 50, 60)

    def library(self) -> str:
        import pillow_heif

        return f"{pillow_heif.libheif_info()['encoders'].get('x265', 'x265')}, pillow-heif {pillow_heif.__version__}"

    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        import pillow_heif

        parameters = {"preset": "slow", "tune": "psnr"}
        pillow_heif.from_pillow(image).save(path, quality=int(quality), chroma=444, enc_params=parameters)

    def decode(self, path: Path) -> Image.Image:
        import pillow_heif

        image: Image.Image = pillow_heif.open_heif(path).to_pillow()
        return image.convert("RGB")


@register_codec("jpeg-xl")
class JpegXl(ClassicalCodec):
    title, suffix, dial, package = "JPEG XL", ".jxl", "quality {}, effort 7, 4:4:4", "pillow-jxl-plugin"
    qualities = (5, 12, 20, 30, 40, 50, 60, 70, 80, 90)

    def library(self) -> str:
        return f"libjxl of {self.package} {version(str(self.package))}"

    def encode(self, image: Image.Image, quality: float, path: Path) -> None:
        import_module("pillow_jxl")  # which teaches Pillow the format
        image.save(path, "JXL", quality=int(quality), effort=7)

    def decode(self, path: Path) -> Image.Image:
        import_module("pillow_jxl")
        return super().decode(path)
