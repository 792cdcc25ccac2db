"""A trained model as a program: pictures to bytes and back."""

import logging
import os
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from balle_li.codec.bitstream import Extra, Stream, pack_metadata, unpack_metadata
from balle_li.codec.effort import Goal, adapt
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.options import EncodeOptions
from balle_li.codec.transforms import Transforms
from balle_li.errors import BalleLiError, BitstreamError, in_one_line
from balle_li.files import inflate, released_model
from balle_li.image_io import Picture
from balle_li.image_metadata import Metadata
from balle_li.latents import Sections
from balle_li.latents.base import Decoded, Prepared
from balle_li.quality_map import Levels
from balle_li.tiling import Progress

log = logging.getLogger(__name__)
_FORKED = (
    "this process was forked from one that uses the GPU, so it cannot use it: start it with spawn, such as "
    "DataLoader(multiprocessing_context='spawn'), or load the codec with the device auto or cpu"
)
_process = os.getpid()


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

    >>> codec = Codec.load()
    >>> data = codec.compress(Image.open("photo.jpg"), quality=60)
    >>> codec.decompress(data).save("photo.png")
    """

    def __init__(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.name, self.setting, self._model = folder.name, folder.setting, folder.model
        self.fingerprint, self.trained_for = folder.fingerprint, folder.trained_for
        self.transforms = Transforms(folder.model, device, dtype)
        self.latents = folder.model.latent_codec
        self._may_move = False

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str] | None = None, device: str = "auto", tune: str | None = None
    ) -> "Codec":
        """Load a model folder, by default one that ships.

        tune: which of those: ms-ssim, the default, or psnr.
        device: auto (a GPU when there is one), cpu, gpu or a torch device such as cuda:1.

        With auto the codec also works in processes that are forked after it was used: there on the CPU, in one thread.

        Raises BalleLiError: the folder is missing or damaged; the device is not there; there is no such tune, or a folder
        is named beside it.
        """
        chosen = choose_device(device)
        if folder is not None and tune is not None:
            raise BalleLiError("give a model folder or a tune: a folder's model is tuned already")
        codec = cls(ModelFolder.load(released_model(tune) if folder is None else folder), chosen)
        codec._may_move = device == "auto"
        return codec

    @property
    def downsampling(self) -> int:
        """Pixels between neighbouring latents."""
        return self.transforms.downsampling

    @property
    def tune(self) -> str:
        """What the model was trained for: ms-ssim, or psnr, which is squared errors."""
        return "ms-ssim" if self.trained_for["ms_ssim_weight"] > 0 else "psnr"

    @property
    def variable_rate(self) -> bool:
        """Whether it can be given a quality, boxes, a quality map or a target size."""
        return self.latents.variable_rate

    def compress(
        self,
        image: Image.Image | Picture,
        options: EncodeOptions | None = None,
        *,
        progress: Progress | None = None,
        **fields: Any,
    ) -> bytes:
        """Compress a Pillow image of any mode, or what `Picture.read` gives of a file, to a stream (docs/bitstream.md).

        Of an animation the current frame is taken. What of an image's metadata cannot be kept is logged; `Picture` says it
        itself. options: see `EncodeOptions`; its fields may also be given by name, `quality=60`. progress: called with the
        fraction done, 0 to 1, after every tile, or with an effort after every step.

        Raises BalleLiError: the picture is empty, cannot be decoded, or has too many pixels; the model has one rate, but
        another was chosen, or takes no effort; an option is out of range; no stream can be so short.
        """
        self._enter_process()
        chosen = replace(options or EncodeOptions(), **fields)
        if not self.variable_rate:
            chosen.check_rate(self.name)
        if chosen.effort and not self.latents.adaptable:
            raise BalleLiError(f"{self.name} has entropy models of its own and cannot be given an effort; leave it out")
        self.transforms.check_size(*image.size[::-1])
        picture = self._picture(image)
        if chosen.strip:
            picture = replace(picture, metadata=Metadata())
        y = self.transforms.analyse(picture.rgb, None if chosen.effort else progress)

        def encode(r: Levels | None) -> bytes:
            prepared = self.latents.prepare(y, r)
            if chosen.effort:
                prepared = self._adapted(prepared, r, picture.rgb, chosen.effort, progress)
            return self._pack(picture, self.latents.encode(prepared))

        if not self.variable_rate:
            return encode(None)
        height, width = picture.rgb.shape[:2]
        return chosen.encoded(height, width, self.downsampling, encode)

    def decompress(self, data: bytes, *, progress: Progress | None = None) -> Image.Image:
        """Decompress a stream to a Pillow image of mode L, LA, RGB or RGBA.

        Its `info` holds icc_profile, exif, xmp and dpi as far as the stream does.

        Raises BitstreamError: the stream is damaged, foreign, or of another model.
        """
        self._enter_process()
        stream = Stream.unpack(data)
        latents = self._decode(stream).values
        alpha = stream.sections.get(Extra.ALPHA)
        picture = Picture(
            alpha=unpack_alpha(alpha, stream.height, stream.width) if alpha is not None else None,
            metadata=unpack_metadata(stream.sections),
            grey=stream.grey,
            rgb=self.transforms.synthesise(latents, stream.height, stream.width, progress),
        )
        return picture.to_image()

    def decode_latents(self, data: bytes) -> NDArray[np.int16]:
        """The integer latents (channels, rows, columns) of a stream: equal on every device, dtype and thread count.

        Raises BitstreamError as `decompress` does.
        """
        self._enter_process()
        return self._decode(Stream.unpack(data)).symbols

    def analyse(self, image: Image.Image | Picture) -> Analysis:
        """Where the bits of a picture would go, at quality 50. Raises BalleLiError as `compress` does."""
        self._enter_process()
        self.transforms.check_size(*image.size[::-1])
        rgb = self._picture(image).rgb
        y = self.transforms.analyse(rgb)
        r = np.zeros(y.shape[1:], np.int8) if self.variable_rate else None
        prepared = self.latents.prepare(y, r)
        importance = self.transforms.importance(rgb)
        shown = self.latents.importance(prepared) if importance is None else importance
        height, width = (-(-side // self.downsampling) for side in rgb.shape[:2])
        seen = slice(height), slice(width)  # of what the latents' grid adds to the picture nothing is shown
        return Analysis(None if shown is None else shown[seen], self.latents.bits(prepared)[seen])

    def _enter_process(self) -> None:
        """Make the codec work where it is called: perhaps in a fork of the process that loaded it."""
        _compute_after_fork()
        if self.transforms.device.type == "cuda" and torch.cuda._is_in_bad_fork():
            if not self._may_move:
                raise BalleLiError(_FORKED)
            self._of_parent = self.transforms  # kept, for its memory is the parent's to free
            self.transforms = Transforms(self._model, torch.device("cpu"))

    def _picture(self, image: Image.Image | Picture) -> Picture:
        if isinstance(image, Picture):
            return image
        picture = Picture.from_image(image)
        for what in picture.left_out:
            log.warning("%s", what)
        return picture

    def _adapted(
        self, prepared: Prepared, r: Levels | None, rgb: NDArray[np.uint8], effort: int, progress: Progress | None
    ) -> Prepared:
        even = np.zeros(prepared.residual.shape[1:], np.int8)
        goal = Goal(self.downsampling, **self.trained_for, r=even if r is None else r)
        return adapt(prepared, self.latents, rgb, goal, self.transforms.differentiable_synthesis, effort, progress)

    def _pack(self, picture: Picture, sections: Sections) -> bytes:
        extras = pack_metadata(picture.metadata)
        if picture.alpha is not None:
            extras[Extra.ALPHA] = pack_alpha(picture.alpha)
        height, width = picture.rgb.shape[:2]
        return Stream(self.fingerprint, width, height, picture.grey, extras | sections).pack()

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


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Code an alpha plane (H, W) without loss: each row's differences from pixel to pixel modulo 256, deflated."""
    return zlib.compress(np.diff(alpha, axis=1, prepend=np.uint8(0)).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The (height, width) plane that `pack_alpha` took. Raises BitstreamError."""
    plane = np.frombuffer(inflate(data, height * width), dtype=np.uint8)
    if plane.size != height * width:
        raise BitstreamError("the alpha channel has the wrong size; the stream is damaged")
    return np.cumsum(plane.reshape(height, width), axis=1, dtype=np.uint8)


def choose_device(name: str) -> torch.device:
    """The torch device for auto, cpu, gpu or a torch name. Raises BalleLiError when it is not there."""
    _compute_after_fork()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and not torch.cuda._is_in_bad_fork() else "cpu"
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError:
        raise BalleLiError(f"device {name!r} is unknown; use auto, cpu, gpu or a torch device such as cuda:0") from None
    if device.type == "meta":
        raise BalleLiError("device 'meta' computes nothing; use auto, cpu, gpu or a torch device such as cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BalleLiError(f"device {name!r} is not there; use --device cpu")
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise BalleLiError(_FORKED)
    try:
        torch.empty(1, device=device)
    except Exception as error:  # each backend that is not there has its own
        reason = in_one_line(error).partition(". ")[0]
        raise BalleLiError(f"device {name!r} cannot be used ({reason}); use --device cpu") from None
    return device


def _compute_after_fork() -> None:
    """Let a forked process compute in one thread: its parent's pool is not in it, and torch would wait for that forever."""
    global _process
    if _process != os.getpid():
        torch.set_num_threads(1)
        _process = os.getpid()
