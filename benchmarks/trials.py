"""A/B trials: what a change of parameters is worth after a short training, over several seeds.

python benchmarks/trials.py PATCHES --out FOLDER --trial NAME [KEY=VALUE ...] --trial NAME KEY=VALUE [...]
    [--steps 1500] [--seeds 43 44] [--pictures FOLDER] [--limit 12]

PATCHES is a patch store, such as data/03_patches. A trial is a name and what it changes in params.yaml, such as

    --trial checkerboard --trial interlaced model.levels=5 --trial smooth model.levels=5 train.smooth_fraction=0.1

Every trial is trained from scratch with each of the seeds, on the same crops in the same order, and measured through
real files. Prints the BD-rates against the first trial, seed by seed and their means, the bits per pixel of smooth
synthetic pictures, and the processor seconds of a training step; writes trials.json. What is trained and measured stays in
--out, and an interrupted run resumes. Processor seconds mean something only where nothing else ran.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import kodak
import numpy as np
import yaml
from numpy.typing import NDArray

from balle_li.codec.codec import Codec
from balle_li.comparison.curves import RdCurve, mean_curves
from balle_li.config import TrainConfig, read
from balle_li.errors import BalleLiError, ConfigError
from balle_li.evaluation.measurements import Reference, to_frame
from balle_li.evaluation.metrics import all_facts
from balle_li.files import read_json, write_json
from balle_li.progress import NoLog, progress
from balle_li.registry import ModelConfig
from balle_li.training.loop import train
from balle_li.training.task import Task

ROOT = Path(__file__).resolve().parents[1]
QUALITIES = (0, 25, 50, 75, 100)
MEASURED = "measured.json"
_SIDES = 256, 384  # of the smooth pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patches", type=Path, help="patch store")
    parser.add_argument("--out", type=Path, required=True, help="where models, measurements and trials.json go")
    parser.add_argument("--trial", nargs="+", action="append", required=True, metavar=("NAME", "KEY=VALUE"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[43, 44])
    parser.add_argument("--pictures", type=Path, default=kodak.PICTURES)
    parser.add_argument("--limit", type=int, default=12, help="how many pictures, spread evenly over the folder")
    arguments = parser.parse_args()
    measured: dict[str, dict[int, dict[str, Any]]] = {}
    try:
        references = kodak.read_references(arguments.pictures, arguments.limit)
        tasks = {
            (name, seed): task(arguments.patches, changes, arguments.steps, seed)
            for name, *changes in arguments.trial
            for seed in arguments.seeds
        }
        for (name, seed), wanted in tasks.items():
            folder = arguments.out / f"{name}-{seed}-{wanted.fingerprint()[:8]}"
            measured.setdefault(name, {})[seed] = result(wanted, folder, references)
    except BalleLiError as error:
        sys.exit(f"Error: {error}")
    table = compare(measured)
    print_table(table, measured)
    write_json(arguments.out / "trials.json", {"steps": arguments.steps, "bd_rate": table, "measured": measured})


def task(patches: Path, changes: Sequence[str], steps: int, seed: int) -> Task:
    """The training of params.yaml, from scratch and without boxes, with `changes`, each `section.key=value` or `key=value`.

    Raises ConfigError: there is no such key, or its value is out of range.
    """
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    parameters["train"] |= {"steps": steps, "validate_every": steps, "lmbda_box": 0.0, "init_from": None}
    for change in changes:
        key, equals, value = change.partition("=")
        *sections, last = key.split(".")
        place = parameters
        for section in sections:
            place = place.get(section, {})
        if not equals or not (last in place or sections == ["model"]):
            raise ConfigError(f"--trial takes KEY=VALUE of params.yaml, such as train.lr=0.004, not {change!r}")
        place[last] = yaml.safe_load(value)
    config = read(TrainConfig, parameters["train"], "train")
    return Task(patches, ModelConfig.of(parameters["model"]), config, parameters["lmbda"], {}, seed)


def result(wanted: Task, folder: Path, references: list[Reference]) -> dict[str, Any]:
    """What is measured of a training, which is done and measured where `folder` does not hold it yet."""
    if not (folder / "model.json").is_file():
        started = time.process_time()
        train(wanted, folder, folder.with_name(f".{folder.name}"), NoLog())
        # Of a training that was resumed, the seconds are those of its last part.
        write_json(folder / "seconds.json", {"processor": time.process_time() - started})
    names = [reference.image_id for reference in references]
    if (folder / MEASURED).is_file() and (found := read_json(folder / MEASURED))["pictures"] == names:
        return dict(found)
    points = measure(folder, references).records()
    smooth = {
        reference.image_id: measure(folder, [reference], (50,)).points["bpp"][0] for reference in smooth_pictures()
    }
    seconds = read_json(folder / "seconds.json")["processor"] / wanted.config.steps
    found = {"pictures": names, "points": points, "smooth": smooth, "step_seconds": seconds}
    write_json(folder / MEASURED, found)
    return found


def measure(folder: Path, references: list[Reference], qualities: Iterable[float] = QUALITIES) -> RdCurve:
    """The mean curve of a model of variable rate over the pictures, through files."""
    codec, model = Codec.load(folder, "cpu"), kodak.Tested(folder.name, folder)
    found: list[dict[str, Any]] = []
    with progress(folder.name, len(references), "pictures") as advance, tempfile.TemporaryDirectory() as name:
        for reference in references:
            for quality in qualities:
                found.append(kodak.through_a_file(reference, model, codec, quality, Path(name) / "picture.bli"))
            advance(1)
    return mean_curves(to_frame(found), all_facts(kodak.METRICS))[folder.name]


def smooth_pictures() -> list[Reference]:
    """Two greys and a gradient of three colours: what large photographs are mostly made of, and small ones hardly hold."""
    row, column = np.mgrid[: _SIDES[0], : _SIDES[1]] / np.array(_SIDES)[:, None, None]
    ramp = 40 + 170 * (0.3 * row + 0.7 * column)
    pictures: dict[str, NDArray[np.floating[Any]]] = {
        "grey": np.full((*_SIDES, 3), 119.0),  # near the mean that transforms start from, so the cheapest of all
        "light": np.full((*_SIDES, 3), 200.0),
        "gradient": np.stack((ramp, 0.9 * ramp + 10, 0.7 * ramp + 40), axis=2),
    }
    return [Reference(name, pixels.round().astype(np.uint8), pixels.size) for name, pixels in pictures.items()]


def compare(measured: dict[str, dict[int, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """BD-rates in per cent, by PSNR and MS-SSIM, of every trial against the first one of the same seed."""
    anchor, *tested = measured
    rates: dict[str, dict[str, Any]] = {}
    for name in tested:
        pairs = [kodak.bd_rates(curve(measured[anchor][seed]), curve(measured[name][seed])) for seed in measured[name]]
        means = [None if None in column else float(np.mean(column)) for column in zip(*pairs, strict=True)]
        rates[name] = {"seeds": dict(zip(measured[name], pairs, strict=True)), "mean": means}
    return rates


def curve(found: dict[str, Any]) -> RdCurve:
    return RdCurve.of("", found["points"])


def print_table(rates: dict[str, dict[str, Any]], measured: dict[str, dict[int, dict[str, Any]]]) -> None:
    for name, of in rates.items():
        lines = [*of["seeds"].items(), ("mean", of["mean"])]
        print(f"\nBD-rate of {name} against {next(iter(measured))}\n{'seed':>6} {'PSNR':>8} {'MS-SSIM':>8}")
        for seed, (by_psnr, by_ms_ssim) in lines:
            print(f"{seed!s:>6} {kodak.percent(by_psnr):>8} {kodak.percent(by_ms_ssim):>8}")
    print(f"\n{'trial':16} {'seed':>6} {'CPU s a step':>13}  bits per pixel at quality 50")
    for name, seeds in measured.items():
        for seed, found in seeds.items():
            smooth = ", ".join(f"{picture} {bpp:.4f}" for picture, bpp in sorted(found["smooth"].items()))
            print(f"{name:16} {seed:6} {found['step_seconds']:13.3f}  {smooth}")


if __name__ == "__main__":
    main()
