"""The pictures that a comparison shows: crops of the best and the worst, kept with the run in a form browsers read."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from balle_li.boxes import box_weight_map, clip_to_window, to_records, weighted
from balle_li.evaluation.picture_page import Example, heat
from balle_li.files import write_bytes, write_json
from balle_li.quality_map import box_offset

LONGEST = 1024
"""Pixels of a crop's longer side at most; larger pictures are cut, never scaled, so that artefacts stay as they are."""
WEBP_QUALITY = 90
INDEX = "shown.json"


def write_shown(examples: Sequence[Example], gains: Sequence[float], folder: Path) -> list[Path]:
    """Write four WebP files an example and `shown.json`, best first, to `folder`; returns what was written.

    gains: by how much the model's PSNR exceeds JPEG's at equal rate, in dB.
    """
    written, index = [], []
    for example, gain in zip(examples, gains, strict=True):
        window = _window(example)
        own = folder / example.reference.image_id
        size = (example.reference.pixels.shape[1], example.reference.pixels.shape[0])
        pictures = {
            "original": Image.fromarray(example.reference.pixels),
            "model": Image.fromarray(example.model_pixels),
            "jpeg": Image.fromarray(example.jpeg_pixels),
            "bits": heat(example.bits / max(float(np.quantile(example.bits, 0.995)), 1e-9), example, size),
        }
        for name, picture in pictures.items():
            write_bytes(own / f"{name}.webp", _webp(picture.crop(window)))
            written.append(own / f"{name}.webp")
        index.append(_entry(example, gain, window))
    write_json(folder / INDEX, index)
    return [*written, folder / INDEX]


def _entry(example: Example, gain: float, window: tuple[int, int, int, int]) -> dict[str, Any]:
    height, width = example.reference.pixels.shape[:2]
    left, top, right, bottom = window
    seen = clip_to_window(example.reference.boxes, left / width, top / height, right / width, bottom / height)
    return {
        "image_id": example.reference.image_id,
        "gain": gain,
        "width": right - left,
        "height": bottom - top,
        "boxes": to_records(seen),
        **_inside(example),
        "most_bpp": float(np.quantile(example.bits, 0.995)) / example.step**2,
        "model": _figures(example.model.bpp, example.model.quality.psnr, example.model.quality.ms_ssim),
        "jpeg": _figures(example.jpeg.bpp, example.jpeg.quality.psnr, example.jpeg.quality.ms_ssim)
        | {"setting": example.jpeg.setting},
    }


def _inside(example: Example) -> dict[str, float | None]:
    """The shares of the picture's bits and of its area that lie in boxes; None where it has no box."""
    if not example.reference.boxes:
        return {"bits_inside": None, "area_inside": None}
    height, width = example.reference.pixels.shape[:2]
    cover = box_offset(weighted(example.reference.boxes, {}), height, width, example.step).clip(0, 1)
    bits = float((example.bits * cover).sum() / max(float(example.bits.sum()), 1e-9))
    return {
        "bits_inside": bits,
        "area_inside": float(box_weight_map(weighted(example.reference.boxes, {}), height, width).mean()),
    }


def _figures(bpp: float, psnr: float, ms_ssim: float | None) -> dict[str, Any]:
    return {"bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim}


def _window(example: Example) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels: the whole picture, or as much as may be, about its largest box."""
    height, width = example.reference.pixels.shape[:2]
    largest = max(example.reference.boxes, key=lambda box: box.area, default=None)
    centre = (0.5, 0.5) if largest is None else ((largest.xmin + largest.xmax) / 2, (largest.ymin + largest.ymax) / 2)
    across, down = min(width, LONGEST), min(height, LONGEST)
    left = min(max(round(centre[0] * width - across / 2), 0), width - across)
    top = min(max(round(centre[1] * height - down / 2), 0), height - down)
    return left, top, left + across, top + down


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=WEBP_QUALITY, method=4)
    return file.getvalue()
