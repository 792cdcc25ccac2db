"""Pillow reads and writes .bli files: `Image.open("photo.bli")`, `image.save("photo.bli")`.

Saving uses the default model (`interfaces/__init__.py`), or another as `model=folder`; it takes `device`, `exif`,
`icc_profile`, `xmp` and `dpi`, and the fields of `EncodeOptions`: `quality`, `boxes`, `quality_map`, `target_bytes`,
`target_bpp`, `effort`, `strip`.
`import balle_li` registers it; this file is imported with the first .bli file, torch when a picture is first decoded or saved.
"""

import dataclasses
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from balle_li.codec.bitstream import Stream, unpack_metadata
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.interfaces import decoding_codec, default_codec

if TYPE_CHECKING:
    from balle_li.codec.options import EncodeOptions

FORMAT = "BLI"
EXTENSION = ".bli"


class BliFileError(BitstreamError, UnidentifiedImageError):
    """A .bli file that cannot be opened or decoded; an OSError too, as Pillow's users expect of a bad file."""


class BliImageFile(ImageFile.ImageFile):
    """A .bli file: its size, mode and metadata are known on opening, its pixels decoded on first use.

    Raises BliFileError on opening a damaged stream, and on loading one whose model is not there.
    """

    format = FORMAT
    format_description = "Balle-Li learned image compression"

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        try:
            stream = Stream.unpack(self._data)
            self.info.update((key, value) for key, value in unpack_metadata(stream.sections).info().items())
        except BitstreamError as error:
            raise BliFileError(str(error)) from None
        self._size, self._mode = (stream.width, stream.height), stream.mode

    def load(self) -> Any:
        if self._im is None:
            try:
                decoded = decoding_codec(self._data).decompress(self._data)
            except BalleLiError as error:
                raise BliFileError(str(error)) from error
            self.im, self._data = decoded.im, b""
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return Image.Image.load(self)


def save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """What `image.save("photo.bli")` does. Raises BalleLiError as the codec does."""
    options = getattr(image, "encoderinfo", {})
    metadata = {key: options[key] for key in ("exif", "icc_profile", "xmp", "dpi") if key in options}
    if metadata:
        image = image.copy()
        image.info |= {
            key: value.tobytes() if isinstance(value, Image.Exif) else value for key, value in metadata.items()
        }
    codec = default_codec(options.get("model"), options.get("device", "auto"), options.get("tune"))
    file.write(codec.compress(image, _encode_options(options)))


def _encode_options(given: Mapping[str, Any]) -> "EncodeOptions":
    """Of the keywords of `Image.save`, those that are the codec's; Pillow adds some of its own."""
    from balle_li.codec.options import EncodeOptions

    known = {field.name for field in dataclasses.fields(EncodeOptions)}
    return EncodeOptions(**{name: value for name, value in given.items() if name in known})
