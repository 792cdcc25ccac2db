"""The models of the paper and ours, trained alike and measured on Kodak through real files.

python benchmarks/rate_distortion.py PATCHES --out FOLDER [--models balle bmshj2018-hyperprior …] [--steps 8000]
    [--tune ms-ssim] [--lmbdas 0.001 0.00375 0.015] [--lr 0.004] [--pictures FOLDER] [--limit N]

PATCHES is a patch store, such as data/03_patches. Every model gets the same patches, seed, steps and parameters, those of
params.yaml but for those given here, and starts from scratch; boxes do not count. Models of one rate are trained
at each of --lmbdas, `balle-li-roi` once, at the middle one, and measured at several qualities. What is trained stays in
--out, and an interrupted run resumes. Prints points, BD-rates and times and writes rate_distortion.json. One of CompressAI's
models (`bmshj2018-hyperprior`) trains and codes by CompressAI's own classes.

With --tune psnr a model may turn fewer bits into PSNR alone: published models trained for squared errors differ by 24 % of
BD-rate by PSNR between factorized prior and hyperprior, by 4 % by MS-SSIM.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import kodak
import pandas as pd
import yaml

from balle_li.comparison.curves import RdCurve, mean_curves
from balle_li.config import TrainConfig, Tune, read
from balle_li.data.patch_store import PatchStore
from balle_li.errors import BalleLiError
from balle_li.evaluation.metrics import all_facts
from balle_li.files import read_json, write_json
from balle_li.progress import NoLog
from balle_li.registry import ModelConfig
from balle_li.training.loop import train
from balle_li.training.task import Task

ROOT = Path(__file__).resolve().parents[1]
ANCHORS = ("jpeg", "balle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patches", type=Path, help="patch store")
    parser.add_argument("--out", type=Path, required=True, help="where the models and rate_distortion.json go")
    parser.add_argument("--models", nargs="+", default=["balle", "balle-li", kodak.OURS])
    parser.add_argument("--lmbdas", nargs="+", type=float, default=[0.001, 0.00375, 0.015])
    parser.add_argument("--tune", choices=get_args(Tune), default="ms-ssim", help="train.tune of all models")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--lr", type=float, help="train.lr of all models; default: that of params.yaml")
    parser.add_argument("--crop", type=int, default=128, help="side of the training crops")
    parser.add_argument("--pictures", type=Path, default=kodak.PICTURES)
    parser.add_argument(
        "--limit", type=int, default=kodak.KODAK, help="how many pictures, spread evenly over the folder"
    )
    arguments = parser.parse_args()
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    steps = arguments.steps
    own = {"steps": steps, "crop": arguments.crop, "tune": arguments.tune}
    parameters["train"] |= own | {"lmbda_box": 0.0, "init_from": None}
    if arguments.lr is not None:
        parameters["train"]["lr"] = arguments.lr
    middle = sorted(arguments.lmbdas)[len(arguments.lmbdas) // 2]
    folders: list[kodak.Tested] = []
    try:
        PatchStore(arguments.patches, "train")
        for name in arguments.models:
            for lmbda in [middle] if name == kodak.OURS else arguments.lmbdas:
                facts = (name, f"{lmbda:g}", arguments.tune, arguments.crop, steps)
                rate = () if arguments.lr is None else (f"lr{arguments.lr:g}",)
                folder = arguments.out / "-".join(map(str, facts + rate))
                if not (folder / "model.json").is_file():
                    train_one(arguments.patches, parameters, name, lmbda, folder)
                folders.append(kodak.Tested(name, folder))
        references = kodak.read_references(arguments.pictures, arguments.limit)
    except BalleLiError as error:
        sys.exit(f"Error: {error}")
    frame = kodak.measure(references, folders, ["jpeg"])
    curves = mean_curves(frame, all_facts(kodak.METRICS))
    kodak.print_points(curves)
    rates = {anchor: bd_rates(curves, anchor) for anchor in ANCHORS if anchor in curves}
    for anchor, tested in rates.items():
        print(f"\nBD-rate against {anchor}\n{'model':14} {'PSNR':>8} {'MS-SSIM':>8}")
        for name, (by_psnr, by_ms_ssim) in tested.items():
            print(f"{name:14} {kodak.percent(by_psnr):>8} {kodak.percent(by_ms_ssim):>8}")
    times = times_of(frame, folders)
    print(f"\n{'model':22} {'training, s':>11} {'encoding, ms':>12} {'decoding, ms':>12}")
    for name, seconds in times.items():
        print(f"{name:22} {seconds[0]:11.0f} {1000 * seconds[1]:12.1f} {1000 * seconds[2]:12.1f}")
    points = [record for curve in curves.values() for record in curve.records()]
    figures = {
        "steps": steps,
        "tune": arguments.tune,
        "pictures": len(references),
        "bd_rate": rates,
        "seconds": times,
        "points": points,
    }
    write_json(arguments.out / "rate_distortion.json", figures)


def train_one(patches: Path, parameters: dict[str, Any], name: str, lmbda: float, folder: Path) -> None:
    config = read(TrainConfig, parameters["train"], "train")
    model = ModelConfig.of(parameters["model"] | {"name": name})
    weights, seed = parameters["class_weights"], parameters["seed"]
    task = Task(patches, model, config, lmbda, weights, seed)
    train(task, folder, folder.with_name(f".{folder.name}"), NoLog())


def times_of(frame: pd.DataFrame, models: Sequence[kodak.Tested]) -> dict[str, tuple[float, float, float]]:
    """Seconds of the quickest training of each model, which other work disturbed least, and of encoding and decoding a picture,
    the median over pictures and settings."""
    found = {}
    for name in dict.fromkeys(model.name for model in models):
        training = min(float(read_json(one.folder / "training.json")["seconds"]) for one in models if one.name == name)
        coding = frame.loc[frame["codec"] == name, ["encode_seconds", "decode_seconds"]].median()
        found[name] = training, float(coding["encode_seconds"]), float(coding["decode_seconds"])
    return found


def bd_rates(curves: dict[str, RdCurve], anchor: str) -> dict[str, tuple[float | None, float | None]]:
    """Of every learned model against `anchor`."""
    learned = [name for name in curves if name not in (anchor, *kodak.CLASSICAL)]
    return {name: kodak.bd_rates(curves[anchor], curves[name]) for name in learned}


if __name__ == "__main__":
    main()
