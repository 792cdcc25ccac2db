"""`pictures.png`: originals with their boxes, the model's pictures, JPEG of the same size, and where the bits went."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from balle_li.boxes import Box
from balle_li.evaluation.classical import classical_codec
from balle_li.evaluation.classical_cache import round_trip
from balle_li.evaluation.measurement import Measurement, Reference, measure_decoded
from balle_li.evaluation.metrics import Quality
from balle_li.files import atomic_path

COLUMN, TALLEST = 480, 420
"""Pixels: the width of a column, and the height that a picture is scaled down to at most."""
MARGIN, GAP, HEADER, CAPTION = 36, 20, 156, 66
PAPER, INK, FAINT, BOX = "#FFFFFF", "#222222", "#777777", "#FFB000"
SMALLEST_NAMED_BOX = 0.01
"""Share of the picture below which a box is drawn without its label."""


@dataclass(frozen=True)
class Example:
    """A row of the page. `bits` and `importance` have one value per latent position, `step` pixels apart."""

    reference: Reference
    model: Measurement
    model_pixels: np.ndarray
    jpeg: Measurement
    jpeg_pixels: np.ndarray
    bits: np.ndarray
    importance: np.ndarray | None
    step: int


def jpeg_of_size(
    reference: Reference, stream_bytes: int, class_weights: Mapping[str, float]
) -> tuple[Measurement, np.ndarray]:
    """The JPEG file whose size is nearest to `stream_bytes`, measured, and its decoded picture."""
    codec = classical_codec("jpeg")
    low, high = 1, 95
    while high - low > 1:
        middle = (low + high) // 2
        if round_trip(reference.pixels, codec, middle)[1] <= stream_bytes:
            low = middle
        else:
            high = middle
    trips = [(quality, round_trip(reference.pixels, codec, quality)) for quality in (low, high)]
    quality, (decoded, size, seconds) = min(trips, key=lambda trip: abs(trip[1][1] - stream_bytes))
    return measure_decoded(reference, "jpeg", codec.setting(quality), decoded, size, seconds, class_weights), decoded


def draw_page(examples: Sequence[Example], title: str, subtitle: str, path: Path) -> None:
    """Write the page as PNG, one row per example."""
    with_importance = any(example.importance is not None for example in examples)
    headings = ["Original", "Model", "JPEG of the nearest size", "Bits"] + ["Importance"] * with_importance
    heights = [_fitted(example.reference.pixels)[1] for example in examples]
    width = 2 * MARGIN + len(headings) * (COLUMN + GAP) - GAP
    page = Image.new("RGB", (width, HEADER + sum(heights) + (CAPTION + GAP) * len(examples) + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 26), title, INK, _font(28, bold=True))
    draw.text((MARGIN, 66), subtitle, FAINT, _font(19))
    for column, heading in enumerate(headings):
        draw.text((_left(column), HEADER - 36), heading, FAINT, _font(21))
    top = HEADER
    for example, height in zip(examples, heights, strict=True):
        _draw_row(page, draw, example, top, height)
        top += height + CAPTION + GAP
    with atomic_path(path) as part:
        page.save(part, "PNG", optimize=True)


def _draw_row(page: Image.Image, draw: ImageDraw.ImageDraw, example: Example, top: int, height: int) -> None:
    size = _fitted(example.reference.pixels)
    rows, columns = example.reference.pixels.shape[:2]
    original = _with_boxes(Image.fromarray(example.reference.pixels).resize(size, Image.Resampling.LANCZOS), example)
    source = f"{columns} × {rows}, source file {_bytes(example.reference.source_bytes)}"
    cells = [(original, example.reference.image_id, source)]
    for measurement, pixels, name in (
        (example.model, example.model_pixels, f"ratio {example.model.compression_ratio:.0f} : 1"),
        (example.jpeg, example.jpeg_pixels, example.jpeg.setting),
    ):
        shown = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
        cells.append(
            (shown, f"{measurement.bpp:.3f} bpp   {_quality(measurement.quality)}", f"{_inside(measurement)}{name}")
        )
    bpp = example.bits / example.step**2
    top_bpp = max(float(np.quantile(bpp, 0.995)), 1e-9)
    cells.append((heat(bpp / top_bpp, example, size), f"0 – {top_bpp:.2f} bits per pixel", "dark: few, bright: many"))
    if example.importance is not None:
        share = float((example.importance > 0.5).mean())
        cells.append((heat(example.importance, example, size), "0 – 1", f"{share:.0%} above 0.5"))
    for column, (picture, first, second) in enumerate(cells):
        left = _left(column)
        page.paste(picture, (left, top))
        draw.text((left, top + height + 8), _shortened(first, _font(20)), INK, _font(20))
        draw.text((left, top + height + 35), _shortened(second, _font(17)), FAINT, _font(17))


def _with_boxes(picture: Image.Image, example: Example) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    font = _font(14)
    for box in _largest_first(example.reference.boxes):
        corners = [
            (box.xmin * picture.width, box.ymin * picture.height),
            (box.xmax * picture.width, box.ymax * picture.height),
        ]
        draw.rectangle([(round(x), round(y)) for x, y in corners], outline=BOX, width=2)
        if box.area >= SMALLEST_NAMED_BOX:
            x, y = (round(value) for value in corners[0])
            label = draw.textbbox((x + 6, y + 4), box.label, font)
            draw.rectangle((x, y, label[2] + 5, label[3] + 4), fill=BOX)
            draw.text((x + 6, y + 4), box.label, "#000000", font)
    return picture


def _largest_first(boxes: Iterable[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: box.area, reverse=True)


def heat(values: np.ndarray, example: Example, size: tuple[int, int]) -> Image.Image:
    """Values in [0, 1] in colour, cut to the picture: the latents may reach beyond its lower and right edge."""
    from matplotlib import colormaps

    height, width = example.reference.pixels.shape[:2]
    grey = Image.fromarray((255 * values.clip(0, 1)).astype(np.uint8))
    shown = grey.resize(size, Image.Resampling.BICUBIC, box=(0, 0, width / example.step, height / example.step))
    return Image.fromarray((255 * colormaps["magma"](np.asarray(shown))[..., :3]).astype(np.uint8))


def _quality(quality: Quality) -> str:
    similarity = "" if quality.ms_ssim is None else f"   MS-SSIM {quality.ms_ssim:.4f}"
    return f"{quality.psnr:.2f} dB{similarity}"


def _inside(measurement: Measurement) -> str:
    inside = measurement.quality.psnr_inside
    return "" if inside is None else f"{inside:.2f} dB in boxes, "


def _fitted(pixels: np.ndarray) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = min(COLUMN / width, TALLEST / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _left(column: int) -> int:
    return MARGIN + column * (COLUMN + GAP)


def _shortened(text: str, font: ImageFont.FreeTypeFont) -> str:
    while len(text) > 1 and font.getlength(text) > COLUMN:
        text = text[:-2] + "…"
    return text


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: the same page on every machine."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", size)
