"""A trained model as a program: pictures to bytes and back."""

import os
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from balle_li.codec.bitstream import Extra, Stream
from balle_li.codec.effort import Goal, adapt
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.options import EncodeOptions
from balle_li.codec.pictures import MAX_METADATA_BYTES, Picture, pack_alpha, unpack_alpha
from balle_li.codec.transforms import Transforms
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.files import inflate
from balle_li.latents.base import Decoded, Prepared
from balle_li.latents.sections import Sections, present
from balle_li.quality_map import Levels
from balle_li.tiling import Progress


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
    >>> data = codec.compress(Image.open("photo.jpg"), quality=60)
    >>> codec.decompress(data).save("photo.png")
    """

    def __init__(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.name, self.setting = folder.name, folder.setting
        self.fingerprint, self.trained_for = folder.fingerprint, folder.trained_for
        self.transforms = Transforms(folder.model, device, dtype)
        self.latents = folder.model.latent_codec

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

    @property
    def variable_rate(self) -> bool:
        """Whether it can be given a quality, boxes, a quality map or a target size."""
        return self.latents.variable_rate

    def compress(
        self,
        image: Image.Image,
        options: EncodeOptions | None = None,
        *,
        progress: Progress | None = None,
        **fields: Any,
    ) -> bytes:
        """Compress a Pillow image of any mode, of an animation the current frame, to a stream (docs/bitstream.md).

        options: see `EncodeOptions`; its fields may also be given by name, `quality=60`. progress: called with the share
        done, 0 to 1, after every tile.

        Raises BalleLiError: the picture is empty, of floating-point numbers, or has too many pixels; the model has one
        rate, but another was asked for; an option is out of range; no stream can be so short.
        """
        asked = replace(options or EncodeOptions(), **fields)
        if not self.variable_rate:
            asked.check_rate(self.name)
        self.transforms.check_size(*image.size[::-1])
        picture = Picture.from_image(image, asked.strip)
        y = self.transforms.analyse(picture.rgb, progress)

        def encode(r: Levels | None) -> bytes:
            prepared = self.latents.prepare(y, r)
            if asked.effort:
                prepared = self._adapted(prepared, r, picture.rgb, asked.effort, progress)
            return self._pack(picture, self.latents.encode(prepared))

        if not self.variable_rate:
            return encode(None)
        height, width = picture.rgb.shape[:2]
        return asked.encoded(height, width, self.downsampling, encode)

    def decompress(self, data: bytes, *, progress: Progress | None = None) -> Image.Image:
        """Decompress a stream to a Pillow image of mode L, LA, RGB or RGBA; `info` holds icc_profile and exif if kept.

        Raises BitstreamError: the stream is damaged, foreign, or of another model.
        """
        stream = Stream.unpack(data)
        latents = self._decode(stream).values
        alpha, icc, exif = (stream.sections.get(tag) for tag in (Extra.ALPHA, Extra.ICC, Extra.EXIF))
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
        return self._decode(Stream.unpack(data)).symbols

    def analyse(self, image: Image.Image) -> Analysis:
        """Where the bits of a picture would go, at quality 50. Raises BalleLiError as `compress` does."""
        self.transforms.check_size(*image.size[::-1])
        rgb = Picture.from_image(image, strip=True).rgb
        y = self.transforms.analyse(rgb)
        r = np.zeros(y.shape[1:], np.int8) if self.variable_rate else None
        prepared = self.latents.prepare(y, r)
        importance = self.transforms.importance(rgb)
        shown = self.latents.importance(prepared) if importance is None else importance
        return Analysis(shown, self.latents.bits(prepared))

    def _adapted(
        self, prepared: Prepared, r: Levels | None, rgb: NDArray[np.uint8], effort: int, progress: Progress | None
    ) -> Prepared:
        even = np.zeros(prepared.residual.shape[1:], np.int8)
        goal = Goal(self.downsampling, **self.trained_for, r=even if r is None else r)
        return adapt(prepared, self.latents, rgb, goal, self.transforms.differentiable_synthesis, effort, progress)

    def _pack(self, picture: Picture, sections: Sections) -> bytes:
        metadata = present(
            {
                Extra.ICC: zlib.compress(picture.icc, 9) if picture.icc else b"",
                Extra.EXIF: zlib.compress(picture.exif, 9) if picture.exif else b"",
                Extra.ALPHA: pack_alpha(picture.alpha) if picture.alpha is not None else b"",
            }
        )
        height, width = picture.rgb.shape[:2]
        return Stream(self.fingerprint, width, height, picture.grey, metadata | sections).pack()

    def _decode(self, stream: Stream) -> Decoded:
        if stream.fingerprint != self.fingerprint:
            raise BitstreamError(
                f"the stream was made by model {stream.fingerprint.hex()}, not by {self.name} {self.fingerprint.hex()}; "
                "name the model that made it"
            )
        try:
            self.transforms.check_size(stream.height, stream.width)
        except BalleLiError as error:
            raise BitstreamError(f"the stream cannot be decoded: {error}") from None
        return self.latents.decode(stream.sections, *self.transforms.grid(stream.height, stream.width))


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
