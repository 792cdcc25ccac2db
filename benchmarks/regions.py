"""What boxes buy: quality inside and outside labelled boxes, at equal file size, with and without boxes given.

python benchmarks/regions.py [--model FOLDER] [--photos FOLDER] [--quality Q] [--against FOLDER] [--out FOLDER]

PHOTOS is laid out as Open Images (images/test, metadata/v5/test-annotations-bbox.csv, as the loader's mirror serves
them). Each picture is coded plainly at the quality, and again with its boxes at several weights, to the same number of
bytes. PSNR is of the mean squared error over the pixels inside, or outside, the boxes of a picture; means over pictures.
The last line takes for each picture the largest weight, in eighths up to 4, that costs it at most 1 dB outside: boxes that
cover little of a picture can be given more than boxes that cover most of it.

--against a model of one rate whose training did not heed boxes: codes each picture with it, and ours to the same number of
bytes with no boxes given. What ours gains inside beyond what it gains outside is what it has learned that people look at.
"""

import argparse
import csv
import functools
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.evaluation.metrics import Pair, Regions
from balle_li.evaluation.metrics import measure as measure_figures
from balle_li.files import released_model, write_json
from balle_li.image_io import read_picture
from balle_li.progress import progress

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = (0.5, 1.0, 2.0, 3.0)
STEPS, MOST = 8, 4  # to a unit of weight; the largest weight
MOST_LOST_OUTSIDE = 1.0  # dB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=released_model(), help="model folder; default: that of tune ms-ssim"
    )
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "labelled-photos")
    parser.add_argument("--limit", type=int, default=100, help="how many pictures at most")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--against", type=Path, help="model folder")
    parser.add_argument("--out", type=Path, help="a folder for regions.json")
    arguments = parser.parse_args()
    pictures = sorted((arguments.photos / "images" / "test").glob("*.jpg"))[: arguments.limit]
    if not pictures:
        sys.exit(f"no photographs in {arguments.photos}/images/test; name the folder of labelled photographs")
    codec, boxes = Codec.load(arguments.model, "cpu"), read_boxes(arguments.photos)
    figures = measure(codec, pictures, boxes, arguments.quality)
    for record in figures["weights"]:
        print_gain(f"boxes of weight {record['weight']}", record, "the plain size")
    print_gain(f"at most {MOST_LOST_OUTSIDE:g} dB lost outside", figures["limited"], "the plain size")
    if arguments.against:
        other = Codec.load(arguments.against, "cpu")
        figures["without_boxes"] = without_boxes(codec, other, pictures, boxes)
        print_gain(f"no boxes, against {other.name}", figures["without_boxes"], "its size")
    if arguments.out:
        write_json(arguments.out / "regions.json", figures)


def print_gain(title: str, gain: dict[str, float], size: str) -> None:
    print(
        f"{title:30} {gain['inside']:+.2f} dB inside, {gain['outside']:+.2f} dB outside, {gain['size']:.1%} of {size}"
    )


def read_boxes(photos: Path) -> dict[str, list[Box]]:
    """The boxes of the test pictures, by image id."""
    boxes: dict[str, list[Box]] = {}
    with (photos / "metadata" / "v5" / "test-annotations-bbox.csv").open() as file:
        for row in csv.DictReader(file):
            xmin, ymin, xmax, ymax = (float(row[side]) for side in ("XMin", "YMin", "XMax", "YMax"))
            box = Box.clipped(xmin, ymin, xmax, ymax, row["LabelName"])
            if box is not None:
                boxes.setdefault(row["ImageID"], []).append(box)
    return boxes


def measure(codec: Codec, pictures: list[Path], boxes: dict[str, list[Box]], quality: float) -> dict[str, Any]:
    """Gains in dB by weight, over the pictures that have boxes and something outside them."""
    by_picture: list[dict[float, Gain]] = []
    limited: list[Gain] = []
    with progress("Regions", len(pictures), "pictures") as advance:
        for path in pictures:
            gain = gain_by_weight(codec, np.asarray(read_picture(path)), boxes.get(path.stem, []), quality)
            if gain is not None:
                by_picture.append({weight: gain(weight) for weight in WEIGHTS})
                limited.append(largest_allowed(gain))
            advance(1)
    records = [{"weight": weight, **mean([gains[weight] for gains in by_picture])} for weight in WEIGHTS]
    return {"pictures": len(by_picture), "quality": quality, "weights": records, "limited": mean(limited)}


def gain_by_weight(
    codec: Codec, pixels: np.ndarray, boxes: list[Box], quality: float
) -> Callable[[float], "Gain"] | None:
    """What boxes of a weight gain over the plain stream of `quality`; None where nothing is inside, or outside, the boxes."""
    image = Image.fromarray(pixels)
    plain = codec.compress(image, quality=quality)
    before = quality_of(codec, plain, pixels, boxes)
    if before["psnr_inside"] is None or before["psnr_outside"] is None:
        return None

    @functools.cache
    def gain(weight: float) -> Gain:
        weighed = [replace(box, weight=weight) for box in boxes]
        data = codec.compress(image, boxes=weighed, target_bytes=len(plain))
        return Gain.between(before, quality_of(codec, data, pixels, boxes), len(data) / len(plain))

    return gain


def largest_allowed(gain: Callable[[float], "Gain"]) -> "Gain":
    """The gain of the largest weight that costs at most MOST_LOST_OUTSIDE; a larger weight costs more."""
    allowed = bisect_right(range(1, MOST * STEPS + 1), MOST_LOST_OUTSIDE, key=lambda step: -gain(step / STEPS).outside)
    return gain(allowed / STEPS) if allowed else Gain(0.0, 0.0, 1.0)


def without_boxes(codec: Codec, other: Codec, pictures: list[Path], boxes: dict[str, list[Box]]) -> dict[str, float]:
    """Mean gain in dB over `other` at its file sizes, no boxes given."""
    gains = []
    with progress("Without boxes", len(pictures), "pictures") as advance:
        for path in pictures:
            own, pixels = boxes.get(path.stem, []), np.asarray(read_picture(path))
            image = Image.fromarray(pixels)
            theirs = other.compress(image)
            ours = codec.compress(image, target_bytes=len(theirs))
            before, after = quality_of(other, theirs, pixels, own), quality_of(codec, ours, pixels, own)
            if before["psnr_inside"] is not None and before["psnr_outside"] is not None:
                gains.append(Gain.between(before, after, len(ours) / len(theirs)))
            advance(1)
    return mean(gains)


class Gain(NamedTuple):
    """inside, outside: dB of PSNR won; size: of the plain stream's bytes."""

    inside: float
    outside: float
    size: float

    @classmethod
    def between(cls, before: dict[str, Any], after: dict[str, Any], size: float) -> "Gain":
        """Both are of a picture that has pixels inside and outside boxes."""
        inside, outside = (after[f"psnr_{part}"] - before[f"psnr_{part}"] for part in ("inside", "outside"))
        return cls(inside, outside, size)


def mean(gains: list[Gain]) -> dict[str, float]:
    return {name: fmean(getattr(gain, name) for gain in gains) for name in Gain._fields}


def quality_of(codec: Codec, data: bytes, pixels: np.ndarray, boxes: list[Box]) -> dict[str, Any]:
    pair = Pair(pixels, np.asarray(codec.decompress(data).convert("RGB")))
    return measure_figures(pair, ["psnr"], Regions.of(boxes, {}, *pixels.shape[:2]))


if __name__ == "__main__":
    main()
