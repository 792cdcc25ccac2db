"""What the page computes: one photograph, compressed by a model and by classical codecs to files of the same size.

A model analyses a photograph once. Each size after that costs an encode or three, because the sizes of files that were made
before say where to look. Every decoded picture is read from the bytes of a whole file.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from balle_li.boxes import Box, box_weight_map, weighted
from balle_li.codec.bitstream import MAX_PIXELS as MOST_PIXELS
from balle_li.codec.bitstream import Stream
from balle_li.codec.codec import Codec
from balle_li.codec.options import EncodeOptions
from balle_li.data.sources import sample
from balle_li.errors import BalleLiError
from balle_li.evaluation.codecs import codec as classical_codec
from balle_li.evaluation.codecs import installed_codecs, round_trip
from balle_li.evaluation.metrics import Pair, Psnr, ms_ssim, to_db
from balle_li.files import TUNES, released_model
from balle_li.image_io import Picture, opened
from balle_li.latents import Section
from balle_li.quality_map import LIMIT, QUALITY_SPAN, STEPS, Levels, quality_to_r, to_levels, unpack_levels

MAX_PIXELS = 2**21
"""Larger photographs are scaled down to so many pixels, for an answer in two seconds on two cores."""

SWEEP = (0.0, 25.0, 50.0, 75.0, 100.0)
"""Qualities of the model's rate–distortion curve."""
SWEEP_POINTS = 6
"""Of a classical codec's rate–distortion curve."""

_SIZE_OF_A_LEVEL = math.log(14) / (2 * QUALITY_SPAN * STEPS)  # the rate grows some fourteenfold from quality 0 to 100
_GUESSES = 5  # before every other step of a search halves what is left
_DIALS = {"jpeg2000": (150, 600, 0.1), "webp": (0, 100, 1.0)}  # lowest, highest, the setting of one step
_USUAL_DIAL = (1, 100, 1.0)

Pixels = NDArray[np.uint8]
Sizes = dict[int, int]
"""Bytes of the files that were made so far, by position of the dial."""


@dataclass(frozen=True)
class Photograph:
    """pixels: uint8 RGB (H, W, 3), upright. note: what was done to the photograph, in a sentence, if anything. What is known
    of it so far: sizes, of classical codecs by name; trials, of models by title."""

    name: str
    pixels: Pixels
    note: str = ""
    sizes: dict[str, Sizes] = field(default_factory=dict)
    trials: dict[str, "ModelTrial"] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A photograph that everyone has: its title, its file, and its boxes."""

    title: str
    path: Path
    boxes: list[Box]


@dataclass(frozen=True)
class Coded:
    """A file made of a photograph. setting: in words. size: bytes. decoded: uint8 RGB (H, W, 3). limit: why the size is not
    what was asked for, if it is not."""

    setting: str
    size: int
    decoded: Pixels
    limit: str = ""


@dataclass(frozen=True, eq=False)
class Compressed:
    """A .bli file, equal to itself alone. levels: its quality map; bits: what each position of the latents costs. Both
    (rows, columns)."""

    data: bytes
    decoded: Pixels
    levels: Levels
    bits: NDArray[np.float32] | None
    limit: str = ""


@dataclass(frozen=True)
class Figures:
    """How good a decoded picture is: PSNR in dB, MS-SSIM in [0, 1]; None where a figure has no meaning."""

    psnr: float
    ms_ssim: float | None
    inside: float | None = None
    outside: float | None = None


@dataclass(frozen=True)
class Point:
    """A point of a rate–distortion curve: bits per pixel, PSNR and MS-SSIM in dB."""

    bpp: float
    psnr: float
    ms_ssim_db: float | None


# Everything that is taken from the rooms of data, metrics and classical codecs goes through these functions.


def released_models() -> dict[str, Path]:
    """The folders of the models that ship with the package, by what they are tuned for."""
    return {f"tuned for {tune.upper()}": released_model(tune) for tune in TUNES}


def samples() -> dict[str, Sample]:
    """The embedded sample, by name, photographs with boxes first. Raises DatasetError: a package that holds one is missing."""
    found = {
        name: Sample(picture["title"], sample.locate(picture), sample.boxes_of(picture))
        for name, picture in sample.catalogue().items()
    }
    return dict(sorted(found.items(), key=lambda item: not item[1].boxes))


def open_photograph(path: Path, name: str) -> Photograph:
    """Read any picture that Pillow knows; one of more than MAX_PIXELS pixels is scaled down.

    Raises BalleLiError: it is no picture, is damaged, or has more pixels than a stream can hold.
    """
    try:
        with opened(path) as image:
            count = image.width * image.height
            if count > MOST_PIXELS:
                raise BalleLiError(f"it has {count / 1e6:.0f} megapixels; at most 268 can be opened, cut it")
            scale = min(1.0, math.sqrt(MAX_PIXELS / count))
            image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            pixels = Picture.from_image(image).rgb
    except BalleLiError as error:
        raise BalleLiError(f"{name}: {str(error).removeprefix(f'{path}: ')}") from error
    if count <= MAX_PIXELS:
        return Photograph(name, pixels)
    height, width = pixels.shape[:2]
    scale = min(1.0, math.sqrt(MAX_PIXELS / (height * width)))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
    return Photograph(
        name,
        pixels,
        f"{name} has {count / 1e6:.1f} megapixels and was scaled down to {size[0] * size[1] / 1e6:.1f}, so that the page "
        "answers at once; `balle-li compress` takes it whole.",
    )


def classical_titles() -> dict[str, str]:
    """The classical codecs that are installed: name to title."""
    return {name: codec.title for name, codec in installed_codecs().items()}


def classical_file(name: str, pixels: Pixels, quality: float) -> Coded:
    """Send a photograph through a file of a classical codec. Raises BalleLiError: the codec cannot take it."""
    codec = classical_codec(name)
    trip = round_trip(pixels, codec, quality)
    return Coded(codec.setting(quality), trip.stream_bytes, trip.decoded)


def classical_sweep(name: str) -> list[float]:
    """The settings of a classical codec's curve, from small files to large ones."""
    settings = classical_codec(name).qualities
    return [settings[round(place)] for place in np.linspace(0, len(settings) - 1, SWEEP_POINTS)]


def measure(original: Pixels, decoded: Pixels, boxes: Sequence[Box]) -> Figures:
    """Compare two pictures, all over and inside and outside the boxes; a pixel counts by how much of it they cover."""
    pair, psnr = Pair(original, decoded), Psnr().measure
    whole, similarity = psnr(pair), ms_ssim(original, decoded)
    if not boxes:
        return Figures(whole, similarity)
    covered = box_weight_map(weighted(boxes, {}), *original.shape[:2])
    inside, outside = (psnr(pair, weights) if weights.any() else None for weights in (covered, 1 - covered))
    return Figures(whole, similarity, inside, outside)


def point(original: Pixels, size: int, decoded: Pixels) -> Point:
    """What a file of `size` bytes adds to a rate–distortion curve."""
    found = measure(original, decoded, ())
    similarity = None if found.ms_ssim is None else to_db(found.ms_ssim)
    return Point(bits_per_pixel(original, size), found.psnr, similarity)


# The page's own: sizes that are asked for.


def bits_per_pixel(pixels: Pixels, size: int) -> float:
    """Bits of a file of `size` bytes per pixel of a picture (H, W, 3)."""
    return 8 * size / (pixels.shape[0] * pixels.shape[1])


class ModelTrial:
    """A variable-rate model and a photograph, which is analysed once.

    Raises BalleLiError: the model has one rate.
    """

    def __init__(self, codec: Codec, pixels: Pixels) -> None:
        if not codec.variable_rate:
            raise BalleLiError(f"{codec.name} has one rate; the page needs a variable-rate model")
        self._codec, self._pixels = codec, pixels
        self._y = codec.transforms.analyse(pixels)
        self._sizes: dict[tuple[Box, ...], Sizes] = {}
        grid = self._y.shape[1:]
        self._last = Compressed(b"", pixels, np.zeros(grid, np.int8), np.zeros(grid, np.float32))

    def compress(self, size: int | None, boxes: Sequence[Box]) -> Compressed:
        """The best file of at most `size` bytes, within half a per cent; None: the file of the default quality.

        Where no file is so short or so long, the shortest or the longest; its `limit` says so.
        """
        height, width = self._pixels.shape[:2]
        offset = EncodeOptions(boxes=boxes).offset(height, width, self._codec.downsampling)
        rows, above = len(offset), math.ceil(float(offset.max()) * STEPS)
        lowest = -LIMIT - above
        dial = Dial(0, (2 * LIMIT + above) * rows, self._sizes.setdefault(tuple(boxes), {}), 0.005)

        def levels(step: int) -> Levels:
            """An even level beside the boxes', and how many rows, from the top, take one more."""
            level, raised = divmod(step, rows)
            even = np.full(offset.shape, lowest + level, np.float32)
            even[:raised] += 1
            return to_levels(offset + even / STEPS)

        def expected(step: int) -> float:
            assert self._last.bits is not None
            change = levels(step) - self._last.levels.astype(np.float32)
            return float((self._last.bits * np.exp(_SIZE_OF_A_LEVEL * change)).sum()) / 8 + 1

        if size is None:
            found, limit = -lowest * rows, ""
        else:
            for step in dial.steps(size, expected):
                self._last = self._encode(levels(step))
                dial.sizes[step] = len(self._last.data)
            found, limit = dial.found(size)
        chosen = levels(found)
        if not (self._last.data and np.array_equal(self._last.levels, chosen)):
            self._last = self._encode(chosen)
            dial.sizes[found] = len(self._last.data)
        decoded = np.asarray(self._codec.decompress(self._last.data).convert("RGB"))
        return Compressed(self._last.data, decoded, chosen, self._last.bits, limit)

    def curve(self) -> Iterator[Point]:
        """The photograph's own rate–distortion curve, without boxes, from small files to large ones."""
        for quality in SWEEP:
            data = self._encode(to_levels(np.full(self._y.shape[1:], quality_to_r(quality)))).data
            yield point(self._pixels, len(data), np.asarray(self._codec.decompress(data).convert("RGB")))

    def _encode(self, levels: Levels) -> Compressed:
        prepared = self._codec.latents.prepare(self._y, levels)
        height, width = self._pixels.shape[:2]
        sections = self._codec.latents.encode(prepared)
        data = Stream(self._codec.fingerprint, width, height, False, sections).pack()
        return Compressed(data, self._pixels, levels, self._codec.latents.bits(prepared))


def open_stream(data: bytes, codecs: Sequence[Codec]) -> tuple[Codec, Compressed]:
    """Decode a .bli file with the one of the codecs that made it.

    Raises BitstreamError: the stream is damaged, or of none of the codecs.
    """
    stream = Stream.unpack(data)
    made_by = [codec for codec in codecs if codec.fingerprint == stream.fingerprint]
    codec = (made_by or codecs)[0]
    decoded = np.asarray(codec.decompress(data).convert("RGB"))
    packed = stream.sections.get(Section.QUALITY_MAP, b"\0")
    levels = unpack_levels(packed, *codec.transforms.grid(stream.height, stream.width))
    return codec, Compressed(data, decoded, levels, None)


def classical_at(name: str, photograph: Photograph, size: int) -> Iterator[Coded]:
    """What a classical codec makes of the photograph in at most `size` bytes: every file tried, and last the one found.

    Where no file is so short or so long, that is the shortest or the longest; its `limit` says so.
    Raises BalleLiError: the codec cannot take the photograph.
    """
    low, high, unit = _DIALS.get(name, _USUAL_DIAL)
    dial = Dial(low, high, photograph.sizes.setdefault(name, {}), 0.02)
    made: dict[int, Coded] = {}

    def coded(step: int) -> Coded:
        made[step] = classical_file(name, photograph.pixels, round(step * unit, 3))
        dial.sizes[step] = made[step].size
        return made[step]

    def expected(step: int) -> float:
        """A guess for all codecs: 0.05 bits per pixel at one end of the dial, 4 at the other."""
        return photograph.pixels.size / 24 * 0.05 * 80 ** ((step - low) / (high - low))

    for step in dial.steps(size, expected):
        yield coded(step)
    found, limit = dial.found(size)
    best = made.get(found) or coded(found)
    yield Coded(best.setting, best.size, best.decoded, limit)


def classical_curve(name: str, photograph: Photograph) -> Iterator[Point]:
    """The photograph's rate–distortion curve of a classical codec. Raises BalleLiError as `classical_file` does."""
    unit = _DIALS.get(name, _USUAL_DIAL)[2]
    for quality in classical_sweep(name):
        coded = classical_file(name, photograph.pixels, quality)
        photograph.sizes.setdefault(name, {})[round(quality / unit)] = coded.size
        yield point(photograph.pixels, coded.size, coded.decoded)


@dataclass(frozen=True)
class Dial:
    """The search for a file of a given size: positions `low` to `high`, whose files grow, and the `sizes` known so far.

    tolerance: the fraction of the size that the file found may stay below it.
    """

    low: int
    high: int
    sizes: Sizes
    tolerance: float

    def steps(self, size: int, expected: Callable[[int], float]) -> Iterator[int]:
        """The positions to try, one after the other; whoever iterates puts the size of each into `sizes`.

        expected: what a position's size may be. It is corrected by the sizes known around it; after some guesses the
        interval is halved every other time.
        """
        for attempt in itertools.count():
            below, above = self._interval(size)
            enough = below >= self.low and self.sizes[below] >= (1 - self.tolerance) * size
            if enough or above == below + 1:
                return
            guesses = attempt < _GUESSES or attempt % 2 == 0
            yield self._guess(size, below, above, expected) if guesses else (below + above) // 2

    def found(self, size: int) -> tuple[int, str]:
        """The position whose file is the largest within `size`, and why it is not of that size, if it is not."""
        below, _ = self._interval(size)
        if below < self.low:
            return self.low, "it cannot get that small"
        far = below == self.high and self.sizes[below] < (1 - 2 * self.tolerance) * size
        return below, "it cannot get that large" if far else ""

    def _interval(self, size: int) -> tuple[int, int]:
        """The highest position known to fit and the next one known not to; one past the ends where there is none."""
        below = max((step for step, made in self.sizes.items() if made <= size), default=self.low - 1)
        return below, min((step for step in self.sizes if step > below), default=self.high + 1)

    def _guess(self, size: int, below: int, above: int, expected: Callable[[int], float]) -> int:
        known = sorted(self.sizes)
        corrections = [math.log(self.sizes[step] / expected(step)) for step in known]

        def corrected(step: int) -> float:
            """By the corrections on the line through two known positions: those around the step, or the nearest."""
            if len(known) < 2:
                return expected(step) * math.exp(sum(corrections))
            right = min(max(bisect.bisect(known, step), 1), len(known) - 1)
            slope = (corrections[right] - corrections[right - 1]) / (known[right] - known[right - 1])
            return expected(step) * math.exp(corrections[right] + slope * (step - known[right]))

        aim = (1 - self.tolerance / 2) * size
        between = range(below + 1, above)
        return between[max(0, bisect.bisect_right(between, aim, key=corrected) - 1)]
