"""The weights that ship, on Kodak, through real files: beside classical codecs and published ones, like for like.

python benchmarks/kodak.py [--model FOLDER] [--pictures FOLDER] [--limit N] [--out FOLDER] [--baseline NAME=FOLDER …]
    [--effort N] [--qualities Q …] [--codecs NAME …]

Prints the points of the curves and a table of BD-rates in Markdown, and writes kodak.json and, for each of our models, a
picture to --out. A learned model is held against our model that was trained for the same, MSE or MS-SSIM. On
pictures other than Kodak there are no published curves. A baseline is further model folders; those of one NAME, each of
one rate, make one curve. With --effort the curves of our models are of that effort, and stand beside those without.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.comparison.curves import RdCurve, bd_rate_by, mean_curves
from balle_li.comparison.plots import plot_rd
from balle_li.comparison.references import Reference as Other
from balle_li.comparison.references import published_references
from balle_li.errors import BalleLiError
from balle_li.evaluation.codecs import codec as classical_codec
from balle_li.evaluation.codecs import codec_title
from balle_li.evaluation.measurements import BASELINE, HEADLINE, Reference, measure_classical, measure_decoded, to_frame
from balle_li.evaluation.measurements import CLASSICAL as CLASSICAL_SORT
from balle_li.evaluation.metrics import all_facts
from balle_li.evaluation.published import KIND_TITLES, kind_of, kinds_differ, recognised
from balle_li.files import TUNES, released_model, write_bytes, write_json
from balle_li.image_io import pictures_in, read_picture
from balle_li.progress import progress

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT.parent / "shared" / "kodak"
CLASSICAL = ("jpeg", "webp", "jpeg-xl", "hevc", "avif")
KODAK = 24
METRICS = ("psnr", "ms_ssim")
QUALITIES = tuple(range(0, 101, 10))
OURS = "balle-li-roi"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder; default: those that ship, of both tunes")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder of pictures")
    parser.add_argument("--limit", type=int, default=KODAK, help="how many, spread evenly over the folder")
    parser.add_argument("--out", type=Path, default=Path("."), help="where kodak.json and kodak.png go")
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument(
        "--qualities", type=int, nargs="+", default=QUALITIES, help="of our models; default: %(default)s"
    )
    parser.add_argument(
        "--codecs", nargs="*", choices=CLASSICAL, default=CLASSICAL, help="classical ones; default: %(default)s"
    )
    parser.add_argument("--baseline", action="append", default=[], metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    baselines = [given.partition("=")[::2] for given in arguments.baseline]
    try:
        references = read_references(arguments.pictures, arguments.limit)
        ours = [Tested(OURS, arguments.model, arguments.effort)]
        if arguments.model is None:
            ours = [Tested(f"{OURS}, tune {tune}", released_model(tune), arguments.effort) for tune in TUNES]
        models = [*ours, *(Tested(name, Path(folder)) for name, folder in baselines)]
        if arguments.effort:
            models += [Tested(f"{model.name}, without effort", model.folder) for model in ours]
        measured = measure(references, models, arguments.codecs, arguments.qualities)
        curves = mean_curves(measured, all_facts(METRICS))
    except BalleLiError as error:
        sys.exit(f"Error: {error}")
    kinds = {model.name: kind_of(ModelFolder.load(model.folder).trained_for) for model in models}
    report(curves, [model.name for model in ours], kinds, references, arguments.out)


def read_references(pictures: Path, limit: int) -> list[Reference]:
    """`limit` pictures, spread evenly over the folder. Raises BalleLiError: there are none."""
    paths, _ = pictures_in(pictures)
    if not paths:
        raise BalleLiError(f"{pictures} holds no pictures; name the folder of the Kodak pictures")
    chosen = np.linspace(0, len(paths) - 1, min(limit, len(paths))).round().astype(int)
    return [Reference(paths[i].stem, np.asarray(read_picture(paths[i])), paths[i].stat().st_size) for i in chosen]


class Tested(NamedTuple):
    """A model folder, the name of the curve that it belongs to, and the effort with which it codes."""

    name: str
    folder: Path
    effort: int = 0


def measure(
    references: list[Reference],
    models: Sequence[Tested],
    classical: Sequence[str] = CLASSICAL,
    qualities: Sequence[int] = QUALITIES,
) -> pd.DataFrame:
    """The measurements of models, by name (those of one rate and of one name make one curve), and of classical codecs."""
    codecs = [(model, Codec.load(model.folder, "cpu")) for model in models]
    measured: list[dict[str, Any]] = []
    with progress("Kodak", len(references), "pictures") as advance, tempfile.TemporaryDirectory() as folder:
        for reference in references:
            file = Path(folder) / "picture.bli"
            for model, codec in codecs:
                for quality in qualities if codec.variable_rate else (None,):
                    measured.append(through_a_file(reference, model, codec, quality, file))
            for name in classical:
                other = classical_codec(name)
                measured += measure_classical(reference, other, other.qualities, METRICS)
            advance(1)
    return to_frame(measured)


def through_a_file(
    reference: Reference, model: Tested, codec: Codec, quality: float | None, path: Path
) -> dict[str, Any]:
    image = Image.fromarray(reference.pixels)
    start = time.perf_counter()
    write_bytes(path, codec.compress(image, quality=quality, effort=model.effort))
    encoded = time.perf_counter()
    decoded = np.asarray(codec.decompress(path.read_bytes()))
    seconds = encoded - start, time.perf_counter() - encoded
    setting = f"lmbda {codec.trained_for['lmbda']:g}" if quality is None else f"quality {quality}"
    return measure_decoded(reference, (model.name, setting, HEADLINE), decoded, path.stat().st_size, seconds, METRICS)


def report(
    curves: dict[str, RdCurve], ours: Sequence[str], kinds: dict[str, str], references: list[Reference], out: Path
) -> None:
    """Print the tables; write kodak.json and the pictures. ours: names of our models. kinds: what models were trained for."""
    print_points(curves)
    pictures = len(references)
    others = [
        Other(curve, codec_title(name), BASELINE if name in kinds else CLASSICAL_SORT, kinds.get(name))
        for name, curve in curves.items()
        if name not in ours
    ]
    others += published_references(recognised(pictures, (reference.pixels for reference in references)))
    others.sort(key=lambda one: one.kind or "")
    rates = {
        own: {one.title: bd_rates(one.curve, curves[own]) for one in others if not kinds_differ(one.kind, kinds[own])}
        for own in ours
    }
    print(f"\nBD-rates by PSNR and by MS-SSIM, {pictures} pictures\n")
    print(f"| against | {' | '.join(f'{own}, trained for {KIND_TITLES[kinds[own]]}' for own in ours)} |")
    print("|---" * (1 + len(ours)) + "|")
    for one in others:
        cells = (", ".join(map(percent, rates[own].get(one.title, ()))) or "another kind" for own in ours)
        print(f"| {one.title} | {' | '.join(cells)} |")
    records = [record for curve in curves.values() for record in curve.records()]
    write_json(out / "kodak.json", {"pictures": pictures, "kinds": kinds, "bd_rate": rates, "points": records})
    for own in ours:
        alike = [one for one in others if one.title in rates[own]]
        titles = {one.curve.codec: one.title for one in others} | {own: "Balle-Li, one model"}
        models = [curves[own], *(one.curve for one in alike if one.sort == BASELINE)]
        grey = [one.curve for one in alike if one.sort != BASELINE]
        note = (
            f"Files, header and all; mean of {pictures} pictures. Balle-Li was trained for {KIND_TITLES[kinds[own]]}."
        )
        plot_rd(
            models, grey, titles, all_facts(METRICS), "One model, every rate", [note], out / f"{file_name(own)}.png"
        )


def file_name(model: str) -> str:
    """`kodak-psnr` of our model of that tune; `kodak` of another."""
    return "-".join(["kodak", *model.split(", tune ")[1:]])


def print_points(curves: dict[str, RdCurve]) -> None:
    print(f"{'codec':14} {'setting':40} {'bpp':>7} {'PSNR':>6} {'MS-SSIM':>8}")
    for name, curve in curves.items():
        for point in curve.points.itertuples():
            print(f"{name:14} {point.setting:40} {point.bpp:7.4f} {point.psnr:6.2f} {point.ms_ssim:8.4f}")


def bd_rates(anchor: RdCurve, test: RdCurve) -> tuple[float | None, float | None]:
    """In per cent, by PSNR and by MS-SSIM in dB."""
    by_psnr, by_ms_ssim = (bd_rate_by(facts, anchor, test).percent for facts in all_facts(METRICS))
    return by_psnr, by_ms_ssim


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %"


if __name__ == "__main__":
    main()
