"""A trained model as a program: pictures to bytes and back."""

import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from balle_li.boxes import Box
from balle_li.codec.bitstream import MAX_PIXELS, Section, Stream
from balle_li.codec.conditional_latents import ConditionalLatents
from balle_li.codec.effort import Goal, adapt
from balle_li.codec.latents import FactorizedLatents, LatentCoder, Latents, Prepared, Sections, present
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.pictures import MAX_METADATA_BYTES, Picture, inflate, pack_alpha, unpack_alpha
from balle_li.codec.tiles import Progress
from balle_li.codec.transforms import Transforms
from balle_li.codec.wish import Wish, longest_within
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.importance import STEPS, Levels, quality_to_r, to_levels


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
        self.variable_rate = model.conditional
        self.transforms = Transforms(model, device, dtype)
        self.latents: LatentCoder = ConditionalLatents(model) if self.variable_rate else FactorizedLatents(model)

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

    def compress(
        self,
        image: Image.Image,
        *,
        quality: float | None = None,
        boxes: Iterable[Box] = (),
        class_weights: Mapping[str, float] | None = None,
        importance: NDArray[np.floating[Any]] | None = None,
        target_bytes: int | None = None,
        effort: int = 0,
        strip: bool = False,
        progress: Progress | None = None,
    ) -> bytes:
        """Compress a Pillow image of any mode, of an animation the current frame, to a stream (docs/bitstream.md).

        Of models of variable rate (`variable_rate`) only:
        quality: 0 to 100, by default 50, r = 0, the lmbda of training; from 0 to 100 the rate grows some ninefold.
        boxes: what counts more, in the upright picture; `class_weights` says how much by label, 1 where it is silent.
        importance: float (h, w) of any size, stretched over the picture: r, added to what quality and boxes ask for; one
            unit weighs squared errors fourfold. The sum is kept within [−2, 2].
        target_bytes: the best quality whose stream is no longer than this, in place of `quality`.
        effort: 0 to 10: ten times as many steps that adapt the latents to the picture, each some hundred times the work
            of encoding it, for about one per cent of its bits; decoding takes no longer. Not with target_bytes.
        strip: leave out ICC profile and EXIF. progress: called with the share done, 0 to 1, after every tile.

        Raises BalleLiError: the picture is empty, of floating-point numbers, or has more than 2^28 pixels; the model has
        one rate, but another was asked for; a value out of range; no stream can be so short.
        """
        self._check_size(*image.size)
        asked = Wish(quality, tuple(boxes), class_weights or {}, importance, target_bytes, effort)
        asked.check(self.variable_rate, str(self.description["name"]))
        picture = Picture.from_image(image, strip)
        y, _ = self.transforms.analyse(picture.rgb, progress)

        def stream(r: Levels | None) -> bytes:
            prepared = self.latents.prepare(y, r)
            if effort:
                prepared = self._adapted(prepared, r, picture.rgb, effort, progress)
            return self._pack(picture, self.latents.encode(prepared, r))

        if not self.variable_rate:
            return stream(None)
        height, width = picture.rgb.shape[:2]
        change = asked.change(height, width, self.downsampling)
        if target_bytes is not None:
            return longest_within(target_bytes, change, stream)
        return stream(to_levels(quality_to_r(50 if quality is None else quality) + change))

    def decompress(self, data: bytes, *, progress: Progress | None = None) -> Image.Image:
        """Decompress a stream to a Pillow image of mode L, LA, RGB or RGBA; `info` holds icc_profile and exif if kept.

        Raises BitstreamError: the stream is damaged, foreign, or of another model.
        """
        stream = Stream.unpack(data)
        latents = self._decode(stream).values
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
        return self._decode(Stream.unpack(data)).symbols

    def analyse(self, image: Image.Image) -> Analysis:
        """Where the bits of a picture would go, at quality 50. Raises BalleLiError as `compress` does."""
        self._check_size(*image.size)
        y, importance = self.transforms.analyse(Picture.from_image(image, strip=True).rgb, None)
        r = np.zeros(y.shape[1:], np.int8) if self.variable_rate else None
        prepared = self.latents.prepare(y, r)
        foretold = self.latents.importance(prepared)
        return Analysis(importance if foretold is None else foretold, self.latents.bits(prepared))

    def _adapted(
        self,
        prepared: Prepared,
        r: Levels | None,
        rgb: NDArray[np.uint8],
        effort: int,
        progress: Progress | None,
    ) -> Prepared:
        shape = prepared.centred.shape[1:]
        importance = np.ones(shape) if r is None else 4.0 ** (r / STEPS)
        lmbda, structure = self.description["lmbda"], self.description.get("structure", 0.0)
        goal = Goal(self.downsampling, float(lmbda), float(structure), importance.astype(np.float32))
        return adapt(prepared, self.latents, rgb, goal, self.transforms.differentiable_synthesis, effort, progress)

    def _pack(self, picture: Picture, sections: Sections) -> bytes:
        metadata = present(
            {
                Section.ICC: zlib.compress(picture.icc, 9) if picture.icc else b"",
                Section.EXIF: zlib.compress(picture.exif, 9) if picture.exif else b"",
                Section.ALPHA: pack_alpha(picture.alpha) if picture.alpha is not None else b"",
            }
        )
        height, width = picture.rgb.shape[:2]
        return Stream(self.fingerprint, width, height, picture.grey, metadata | sections).pack()

    def _decode(self, stream: Stream) -> Latents:
        if stream.fingerprint != self.fingerprint:
            raise BitstreamError(
                f"the stream was made by model {stream.fingerprint.hex()}, not by {self.description['name']} "
                f"{self.fingerprint.hex()}; name the model that made it"
            )
        rows, columns = self.transforms.grid(stream.height, stream.width)
        if rows * columns * self.downsampling**2 > MAX_PIXELS:
            raise BitstreamError(f"the stream claims {stream.width}x{stream.height} pixels; that is too thin and long")
        return self.latents.decode(stream.sections, rows, columns)

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
