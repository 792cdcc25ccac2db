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

from balle_li.comparison.curves import BdRate, RdCurve, bd_rate_by, mean_curves
from balle_li.evaluation.codecs import codec, installed_codecs
from balle_li.evaluation.measurements import Reference, measure_classical, to_frame
from balle_li.evaluation.metrics import all_facts
from balle_li.image_io import read_picture
from balle_li.progress import progress

PUBLISHED = {"jpeg2000": (-35.9, -13.3), "webp": (-36.2, -23.4), "avif": (-62.4, -52.7), "hevc": (-58.9, -47.8)}
"""BD-rate in per cent against JPEG, by PSNR and by MS-SSIM; AVIF stands beside AV1, HEVC beside BPG 4:4:4."""

METRICS = ("psnr", "ms_ssim")
PUBLISHED_RANGE = (0.22, 1.37)
"""Bits per pixel between the ends of the JPEG curve that these figures are against; it ends at quality 75."""


def main() -> None:
    parser = argparse.ArgumentParser(description="BD-rates of the classical codecs against JPEG")
    parser.add_argument("folder", nargs="?", type=Path, default=PICTURES, help="PNG pictures; default: ../shared/kodak")
    parser.add_argument("--pictures", type=int, default=24, help="how many, spread evenly over the folder")
    parser.add_argument("--codecs", nargs="+", choices=list(installed_codecs()), default=list(installed_codecs()))
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
    points = curves["jpeg"].points[curves["jpeg"].points["bpp"].between(*PUBLISHED_RANGE)]
    title = "The same over the rates of the published JPEG curve, {:g} to {:g} bpp".format(*PUBLISHED_RANGE)
    print_bd_rates(curves, title, replace(curves["jpeg"], points=points))


def measure(paths: list[Path], names: list[str]) -> dict[str, RdCurve]:
    """The mean curves of the codecs `names` over the pictures `paths`."""
    rows = []
    with progress("Measuring codecs", len(paths) * len(names), "curves") as advance:
        for path in paths:
            reference = Reference(path.stem, np.asarray(read_picture(path)), path.stat().st_size)
            for name in names:
                rows += measure_classical(reference, codec(name), codec(name).qualities, METRICS)
                advance(1)
    return mean_curves(to_frame(rows), all_facts(METRICS))


def print_curve(curve: RdCurve) -> None:
    own = codec(curve.codec)
    print(f"\n{own.title} ({own.library()})\n{'setting':44} {'bpp':>7} {'PSNR':>7} {'MS-SSIM':>8}")
    for point in curve.points.itertuples():
        print(f"{point.setting:44} {point.bpp:7.4f} {point.psnr:7.2f} {point.ms_ssim:8.4f}")


def print_bd_rates(curves: dict[str, RdCurve], title: str, anchor: RdCurve) -> None:
    print(f"\n{title}\n{'codec':14} {'PSNR':>8} {'published':>10} {'MS-SSIM':>9} {'published':>10}")
    for name, curve in curves.items():
        if name == "jpeg":
            continue
        psnr, similarity = (bd_rate_by(facts, anchor, curve) for facts in all_facts(METRICS))
        known = [f"{figure:+.1f}" for figure in PUBLISHED.get(name, ())] or ["–", "–"]
        print(f"{codec(name).title:14} {_percent(psnr):>8} {known[0]:>10} {_percent(similarity):>9} {known[1]:>10}")
        for metric, result in (("PSNR", psnr), ("MS-SSIM", similarity)):
            if result.warning:
                print(f"  {metric}: {result.warning}")


def _percent(result: BdRate) -> str:
    return "–" if result.percent is None else f"{result.percent:+.1f}"


if __name__ == "__main__":
    main()
