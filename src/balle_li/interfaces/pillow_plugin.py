"""Pillow reads and writes .bli files: `Image.open("photo.bli")`, `image.save("photo.bli")`.

Saving uses the default model (`locate.py`), or another as `model=folder`; it takes `device`, `exif` and `icc_profile`, and
the fields of `EncodeOptions`: `quality`, `boxes`, `quality_map`, `target_bytes`, `target_bpp`, `effort`, `strip`.
Registering costs next to nothing; torch is imported when a picture is first decoded or saved.
"""

import dataclasses
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from balle_li.codec.bitstream import MAGIC, Stream
from balle_li.interfaces.locate import decoding_codec, default_codec

if TYPE_CHECKING:
    from balle_li.codec.options import EncodeOptions

FORMAT = "BLI"
EXTENSION = ".bli"


class BliImageFile(ImageFile.ImageFile):
    """A .bli file: its size and mode are known on opening, its pixels decoded on first use.

    Raises BitstreamError on opening a damaged stream, and on loading one of another model.
    """

    format = FORMAT
    format_description = "Balle-Li learned image compression"

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        stream = Stream.unpack(self._data)
        self._size, self._mode = (stream.width, stream.height), stream.mode

    def load(self) -> Any:
        if self._im is None:
            decoded = decoding_codec(self._data).decompress(self._data)
            self.info.update(decoded.info)
            self.im, self._data = decoded.im, b""
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return Image.Image.load(self)


def register() -> None:
    """Teach Pillow the format. Calling it again changes nothing."""
    Image.register_open(FORMAT, BliImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, "image/x-balle-li")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = getattr(image, "encoderinfo", {})
    metadata = {key: options[key] for key in ("exif", "icc_profile") if key in options}
    if metadata:
        image = image.copy()
        image.info |= {
            key: value.tobytes() if isinstance(value, Image.Exif) else value for key, value in metadata.items()
        }
    codec = default_codec(options.get("model"), options.get("device", "auto"))
    file.write(codec.compress(image, _encode_options(options)))


def _encode_options(given: Mapping[str, Any]) -> "EncodeOptions":
    """Of the keywords of `Image.save`, those that are the codec's; Pillow adds some of its own."""
    from balle_li.codec.options import EncodeOptions

    known = {field.name for field in dataclasses.fields(EncodeOptions)}
    return EncodeOptions(**{name: value for name, value in given.items() if name in known})
