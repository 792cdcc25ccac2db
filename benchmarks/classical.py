"""The classical codecs on Kodak, and their BD-rates against JPEG beside the published ones.

python benchmarks/classical.py [FOLDER] [--pictures N] [--codecs jpeg webp …]

The published figures are computed from CompressAI's result files for the 24 pictures of Kodak (PCHIP on log-rate). Its
encoders are others than those in Pillow's wheels, fewer pictures than 24 shift every figure, and so does the range of
quality: the factorized model saves 48 % of the bits of a JPEG curve that ends at quality 75, 44 % of one that ends at 90.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from kodak import PICTURES

from balle_li.datasets.pictures import read_picture
from balle_li.evaluation.bd_rate import BdRate, bd_rate
from balle_li.evaluation.classical import classical_codec, codec_names
from balle_li.evaluation.classical_cache import default_cache, measure_classical
from balle_li.evaluation.curves import RdCurve, mean_curve
from balle_li.evaluation.measurement import Reference
from balle_li.progress import progress

PUBLISHED = {"jpeg2000": (-35.9, -13.3), "webp": (-36.2, -23.4), "avif": (-62.4, -52.7), "hevc": (-58.9, -47.8)}
"""BD-rate in per cent against JPEG, by PSNR and by MS-SSIM; AVIF stands beside AV1, HEVC beside BPG 4:4:4."""

PUBLISHED_RANGE = (0.22, 1.37)
"""Bits per pixel between the ends of the JPEG curve that these figures are against; it ends at quality 75."""


def main() -> None:
    parser = argparse.ArgumentParser(description="BD-rates of the classical codecs against JPEG")
    parser.add_argument("folder", nargs="?", type=Path, default=PICTURES, help="PNG pictures; default: ../shared/kodak")
    parser.add_argument("--pictures", type=int, default=24, help="how many, spread evenly over the folder")
    parser.add_argument("--codecs", nargs="+", choices=codec_names(), default=codec_names())
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.png"))
    if not paths:
        parser.error(f"{arguments.folder} holds no PNG pictures; name the folder of the Kodak pictures")
    chosen = np.linspace(0, len(paths) - 1, min(arguments.pictures, len(paths))).round().astype(int)
    names = list(dict.fromkeys(["jpeg", *arguments.codecs]))
    curves = measure([paths[i] for i in chosen], names)
    for name in names:
        print_curve(curves[name])
    print_bd_rates(curves, "BD-rate against JPEG 4:2:0", curves["jpeg"])
    points = tuple(point for point in curves["jpeg"].points if PUBLISHED_RANGE[0] <= point.bpp <= PUBLISHED_RANGE[1])
    title = "The same over the rates of the published JPEG curve, {:g} to {:g} bpp".format(*PUBLISHED_RANGE)
    print_bd_rates(curves, title, replace(curves["jpeg"], points=points))


def measure(paths: list[Path], names: list[str]) -> dict[str, RdCurve]:
    """The mean curves of the codecs `names` over the pictures `paths`."""
    measurements = []
    with progress("Measuring codecs", len(paths) * len(names), "curves") as advance:
        for path in paths:
            reference = Reference(path.stem, np.asarray(read_picture(path)), (), path.stat().st_size)
            for name in names:
                codec = classical_codec(name)
                for quality in codec.qualities:
                    measurements.append(measure_classical(reference, codec, quality, {}, default_cache()))
                advance(1)
    return {name: mean_curve(name, measurements) for name in names}


def print_curve(curve: RdCurve) -> None:
    codec = classical_codec(curve.codec)
    print(f"\n{codec.title} ({codec.library()})\n{'setting':44} {'bpp':>7} {'PSNR':>7} {'MS-SSIM':>8}")
    for point in curve.points:
        similarity = "–" if point.ms_ssim is None else f"{point.ms_ssim:.4f}"
        print(f"{point.setting:44} {point.bpp:7.4f} {point.psnr:7.2f} {similarity:>8}")


def print_bd_rates(curves: dict[str, RdCurve], title: str, anchor: RdCurve) -> None:
    print(f"\n{title}\n{'codec':14} {'PSNR':>8} {'published':>10} {'MS-SSIM':>9} {'published':>10}")
    for name, curve in curves.items():
        if name == "jpeg":
            continue
        psnr = bd_rate(anchor.values("psnr"), curve.values("psnr"))
        similarity = bd_rate(anchor.values("ms_ssim_db"), curve.values("ms_ssim_db"))
        known = [f"{figure:+.1f}" for figure in PUBLISHED.get(name, ())] or ["–", "–"]
        print(
            f"{classical_codec(name).title:14} {_percent(psnr):>8} {known[0]:>10} {_percent(similarity):>9} {known[1]:>10}"
        )
        for metric, result in (("PSNR", psnr), ("MS-SSIM", similarity)):
            if result.warning:
                print(f"  {metric}: {result.warning}")


def _percent(result: BdRate) -> str:
    return "–" if result.percent is None else f"{result.percent:+.1f}"


if __name__ == "__main__":
    main()
