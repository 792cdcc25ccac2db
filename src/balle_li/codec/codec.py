"""A trained model as a program: pictures to bytes and back."""

import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from balle_li.codec.bitstream import MAX_PIXELS, Section, Stream
from balle_li.codec.entropy_coder import EntropyCoder
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.pictures import MAX_METADATA_BYTES, Picture, inflate, pack_alpha, unpack_alpha
from balle_li.codec.transforms import Progress, Transforms
from balle_li.errors import BalleLiError, BitstreamError


@dataclass(frozen=True)
class Analysis:
    """Where a picture's bits go; rows and columns are those of the latents, `Codec.downsampling` pixels apart.

    importance: float32 (rows, columns) in [0, 1], None for models without an importance map.
    bits: float32 (rows, columns), what the latents at each position cost by the model's tables.
    """

    importance: NDArray[np.float32] | None
    bits: NDArray[np.float32]


class Codec:
    """Compresses pictures with one model. Safe to use from several threads.

    >>> codec = Codec.load("data/04_models/model")
    >>> data = codec.compress(Image.open("photo.jpg"))
    >>> codec.decompress(data).save("photo.png")
    """

    def __init__(self, model: ModelFolder, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.description: dict[str, Any] = model.description
        self.fingerprint: bytes = model.fingerprint
        self.transforms = Transforms(model, device, dtype)
        self.coder = EntropyCoder(model.tables("y"))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto") -> "Codec":
        """Load a model folder. device: auto (a GPU when there is one), cpu, gpu or a torch device such as cuda:1.

        Raises BalleLiError: the folder is missing or damaged, or the device is not there.
        """
        return cls(ModelFolder.load(folder), choose_device(device))

    @property
    def downsampling(self) -> int:
        """Pixels between neighbouring latents."""
        return self.transforms.downsampling

    def compress(self, image: Image.Image, *, strip: bool = False, progress: Progress | None = None) -> bytes:
        """Compress a Pillow image of any mode, of an animation the current frame, to a stream (docs/bitstream.md).

        strip: leave out ICC profile and EXIF. progress: called with the share done, 0 to 1, after every tile.
        Raises BalleLiError: the picture is empty, of floating-point numbers, or has more than 2^28 pixels.
        """
        self._check_size(*image.size)
        picture = Picture.from_image(image, strip)
        latents, _ = self.transforms.analyse(picture.rgb, progress)
        coded, outside = self.coder.encode(latents.reshape(len(latents), -1))
        sections: dict[int, bytes] = {
            Section.ICC: zlib.compress(picture.icc, 9) if picture.icc else b"",
            Section.EXIF: zlib.compress(picture.exif, 9) if picture.exif else b"",
            Section.ALPHA: pack_alpha(picture.alpha) if picture.alpha is not None else b"",
            Section.LATENTS_OUTSIDE: outside,
        }
        sections = {tag: data for tag, data in sections.items() if data} | {Section.LATENTS: coded}
        height, width = picture.rgb.shape[:2]
        return Stream(self.fingerprint, width, height, picture.grey, sections).pack()

    def decompress(self, data: bytes, *, progress: Progress | None = None) -> Image.Image:
        """Decompress a stream to a Pillow image of mode L, LA, RGB or RGBA; `info` holds icc_profile and exif if kept.

        Raises BitstreamError: the stream is damaged, foreign, or of another model.
        """
        stream = Stream.unpack(data)
        latents = self._decode(stream)
        alpha = stream.sections.get(Section.ALPHA)
        icc, exif = (stream.sections.get(tag) for tag in (Section.ICC, Section.EXIF))
        picture = Picture(
            alpha=unpack_alpha(alpha, stream.height, stream.width) if alpha is not None else None,
            icc=inflate(icc, MAX_METADATA_BYTES) if icc is not None else None,
            exif=inflate(exif, MAX_METADATA_BYTES) if exif is not None else None,
            grey=stream.grey,
            rgb=self.transforms.synthesise(latents, stream.height, stream.width, progress),
        )
        return picture.to_image()

    def decode_latents(self, data: bytes) -> NDArray[np.int16]:
        """The integer latents (channels, rows, columns) of a stream: equal on every device, dtype and thread count.

        Raises BitstreamError as `decompress` does.
        """
        return self._decode(Stream.unpack(data))

    def analyse(self, image: Image.Image) -> Analysis:
        """Where the bits of a picture would go. Raises BalleLiError as `compress` does."""
        self._check_size(*image.size)
        latents, importance = self.transforms.analyse(Picture.from_image(image, strip=True).rgb, None)
        bits = self.coder.bits(latents.reshape(len(latents), -1))
        return Analysis(importance, bits.reshape(latents.shape[1:]))

    def _decode(self, stream: Stream) -> NDArray[np.int16]:
        if stream.fingerprint != self.fingerprint:
            raise BitstreamError(
                f"the stream was made by model {stream.fingerprint.hex()}, not by {self.description['name']} "
                f"{self.fingerprint.hex()}; name the model that made it"
            )
        if Section.LATENTS not in stream.sections:
            raise BitstreamError("the stream has no latents; it is damaged")
        rows, columns = self.transforms.grid(stream.height, stream.width)
        if rows * columns * self.downsampling**2 > MAX_PIXELS:
            raise BitstreamError(f"the stream claims {stream.width}x{stream.height} pixels; that is too thin and long")
        outside = stream.sections.get(Section.LATENTS_OUTSIDE, b"")
        values = self.coder.decode(stream.sections[Section.LATENTS], outside, rows * columns)
        return values.reshape(-1, rows, columns)

    def _check_size(self, width: int, height: int) -> None:
        rows, columns = self.transforms.grid(height, width)
        if rows * columns * self.downsampling**2 > MAX_PIXELS:
            raise BalleLiError(f"the picture has {width}x{height} pixels; at most 2^28 can be compressed, cut it")


def choose_device(name: str) -> torch.device:
    """The torch device for auto, cpu, gpu or a torch name. Raises BalleLiError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError:
        raise BalleLiError(f"device {name!r} is unknown; use auto, cpu, gpu or a torch device such as cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BalleLiError(f"device {name!r} is not there; use --device cpu")
    return device
