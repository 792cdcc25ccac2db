"""The classical codecs that a model is compared with: each writes and reads real files, by the library that users have.

Chroma is kept at full resolution (4:4:4) where a codec can; JPEG comes also as everyone meets it, with 4:2:0. Every dial
sets a quality, not a size: curves averaged at equal sizes per picture come out several per cent of BD-rate better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import Image, features
from PIL import __version__ as pillow_version

from balle_li.errors import ConfigError

_JPEG_XL_PACKAGE = "pillow-jxl-plugin"

Encode = Callable[[Image.Image, float, Path], None]
Decode = Callable[[Path], Image.Image]


@dataclass(frozen=True)
class ClassicalCodec:
    """A codec with one dial. `qualities` is its sweep, from small files to large ones."""

    name: str
    title: str
    suffix: str
    dial: str
    """What the number stands for, and every setting that stays fixed."""
    qualities: tuple[float, ...]
    library: Callable[[], str]
    """The encoder and its version: results of another version are measured again."""
    encode: Encode
    """Write an RGB picture to a file at a quality of the dial."""
    decode: Decode
    """Read the file back as an RGB picture."""
    package: str | None = None
    """What has to be installed for it with pip, where that is none of the project's requirements."""

    def is_installed(self) -> bool:
        """Whether its package, if it needs one, is there."""
        try:
            return self.package is None or bool(version(self.package))
        except PackageNotFoundError:
            return False

    def setting(self, quality: float) -> str:
        """The whole setting in words, such as `quality 32, 4:2:0`."""
        return self.dial.format(f"{quality:g}")


def known_names() -> list[str]:
    """The names of all codecs, whether they can be had here or not."""
    return list(_CODECS)


def codec_names() -> list[str]:
    """The names of the codecs that can be had here."""
    return [name for name, codec in _CODECS.items() if codec.is_installed()]


def classical_codec(name: str) -> ClassicalCodec:
    """The codec of that name. Raises ConfigError when there is none, or when its package is not installed."""
    if name not in _CODECS:
        raise ConfigError(f"classical codec {name!r} is unknown: known are {', '.join(_CODECS)}")
    codec = _CODECS[name]
    if not codec.is_installed():
        raise ConfigError(f"{codec.title} is left out: it needs `pip install {codec.package}`")
    return codec


def codec_title(name: str) -> str:
    """How readers know a codec; the name itself where it is not one of these, as with a model's."""
    return _CODECS[name].title if name in _CODECS else name


def _decode_pillow(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _jpeg_encoder(subsampling: str) -> Encode:
    def encode(image: Image.Image, quality: float, path: Path) -> None:
        image.save(path, "JPEG", quality=int(quality), subsampling=subsampling)

    return encode


def _encode_jpeg2000(image: Image.Image, quality: float, path: Path) -> None:
    image.save(path, "JPEG2000", quality_mode="dB", quality_layers=[quality], irreversible=True, mct=1)


def _encode_webp(image: Image.Image, quality: float, path: Path) -> None:
    image.save(path, "WEBP", quality=int(quality), method=6)


def _encode_avif(image: Image.Image, quality: float, path: Path) -> None:
    image.save(path, "AVIF", quality=int(quality), subsampling="4:4:4", speed=4)


def _encode_hevc(image: Image.Image, quality: float, path: Path) -> None:
    import pillow_heif

    parameters = {"preset": "slow", "tune": "psnr"}
    pillow_heif.from_pillow(image).save(path, quality=int(quality), chroma=444, enc_params=parameters)


def _decode_hevc(path: Path) -> Image.Image:
    import pillow_heif

    image: Image.Image = pillow_heif.open_heif(path).to_pillow()
    return image.convert("RGB")


def _encode_jpeg_xl(image: Image.Image, quality: float, path: Path) -> None:
    import_module("pillow_jxl")  # which teaches Pillow the format
    image.save(path, "JXL", quality=int(quality), effort=7)


def _decode_jpeg_xl(path: Path) -> Image.Image:
    import_module("pillow_jxl")
    return _decode_pillow(path)


def _jpeg_xl_library() -> str:
    return f"libjxl of pillow-jxl-plugin {version(_JPEG_XL_PACKAGE)}"


def _pillow_library(feature: str) -> Callable[[], str]:
    return lambda: f"{feature} {features.version(feature)}, Pillow {pillow_version}"


def _hevc_library() -> str:
    import pillow_heif

    return f"{pillow_heif.libheif_info()['encoders'].get('x265', 'x265')}, pillow-heif {pillow_heif.__version__}"


_JPEG_QUALITIES = (4, 8, 12, 16, 20, 24, 32, 40, 50, 60, 70, 80, 90)

_CODECS = {
    codec.name: codec
    for codec in (
        ClassicalCodec(
            "jpeg", "JPEG", ".jpg", "quality {}, 4:2:0", _JPEG_QUALITIES,
            _pillow_library("libjpeg_turbo"), _jpeg_encoder("4:2:0"), _decode_pillow,
        ),
        ClassicalCodec(
            "jpeg-444", "JPEG 4:4:4", ".jpg", "quality {}, 4:4:4", _JPEG_QUALITIES,
            _pillow_library("libjpeg_turbo"), _jpeg_encoder("4:4:4"), _decode_pillow,
        ),
        ClassicalCodec(
            "jpeg2000", "JPEG 2000", ".jp2", "{} dB, 9/7 wavelet, 4:4:4", (24, 26, 28, 30, 32, 34, 36, 38, 40),
            _pillow_library("jpg_2000"), _encode_jpeg2000, _decode_pillow,
        ),
        ClassicalCodec(
            "webp", "WebP", ".webp", "quality {}, method 6, 4:2:0", (1, 5, 10, 20, 35, 50, 65, 80, 90, 95),
            _pillow_library("webp"), _encode_webp, _decode_pillow,
        ),
        ClassicalCodec(
            "avif", "AVIF", ".avif", "quality {}, speed 4, 4:4:4", (5, 12, 20, 30, 40, 50, 60, 70, 80),
            _pillow_library("avif"), _encode_avif, _decode_pillow,
        ),
        ClassicalCodec(
            "hevc", "HEVC intra", ".heic", "quality {}, preset slow, tune psnr, 4:4:4", (2, 6, 10, 15, 20, 30, 40, 50, 60),
            _hevc_library, _encode_hevc, _decode_hevc,
        ),
        ClassicalCodec(
            "jpeg-xl", "JPEG XL", ".jxl", "quality {}, effort 7, 4:4:4", (5, 12, 20, 30, 40, 50, 60, 70, 80, 90),
            _jpeg_xl_library, _encode_jpeg_xl, _decode_jpeg_xl, _JPEG_XL_PACKAGE,
        ),
    )
}  # fmt: skip
