"""How long it takes to summarise measurements and to draw their report, by the number of pictures.

python benchmarks/evaluation.py [--pictures 50 100 200 500] [--against CHECKOUT]

The measurements are made up, with the settings that params.yaml asks for: 5 qualities of a model, 14 of JPEG and five other
codecs, and boxes on half of the pictures. Measuring itself is not part of it: that is linear, as every picture is measured for
itself. --against times the same in another checkout, as it stood before measurements were one table: its `summary.summarise` and
`ranking.rank`, which read all measurements again for every picture. Seconds are those of the processor: what else the machine
does is not counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from balle_li.comparison.report import write_report
from balle_li.comparison.summary import write_summary
from balle_li.evaluation.measurements import (
    CLASSICAL,
    EVALUATION_FILE,
    HEADLINE,
    MEASUREMENTS_FILE,
    OTHER_QUALITY,
    gains,
    mark_compared,
    to_frame,
    write_measurements,
)
from balle_li.evaluation.metrics import all_facts, to_db
from balle_li.files import write_json
from balle_li.progress import NoLog

SETTINGS = {"balle-li-roi": 5, "jpeg": 14, "jpeg2000": 9, "webp": 10, "avif": 9, "hevc": 9}
PIXELS = 1024 * 768
BEFORE = """
import json, sys, time
import bjontegaard
from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.metrics import Quality
from balle_li.evaluation.model_under_test import PictureResult
from balle_li.evaluation import ranking, summary
rows = json.load(sys.stdin)
made = []
for row in rows:
    by_class = {cell["label"]: cell["value"] for cell in row["psnr_by_class"]}
    names = ("mse", "psnr", "ms_ssim", "ms_ssim_db", "psnr_inside", "psnr_outside")
    quality = Quality(*(row[name] for name in names), by_class)
    names = ("image_id", "codec", "setting", "height", "width", "source_bytes", "stream_bytes")
    names += ("encode_seconds", "decode_seconds")
    made.append((row["kind"], Measurement(*(row[name] for name in names), quality)))
results = {}
for kind, one in made:
    if kind != "classical":
        results.setdefault(one.image_id, []).append(one)
results = [PictureResult(curve[2], tuple(curve), None) for curve in results.values()]
jpeg = [one for kind, one in made if one.codec == "jpeg"]
start = time.process_time()
summary.summarise(results, jpeg, 0.01, "set")
ranking.rank([result.headline for result in results], jpeg)
print(time.process_time() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", type=int, default=[50, 100, 200, 500, 2000])
    parser.add_argument("--against", type=Path, help="an older checkout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timed(made_up(5), Path(folder))  # imports what is used
    print(f"{'pictures':>8} {'rows':>7} {'summary':>9} {'ms/picture':>10} {'report':>9} {'ms/picture':>10}   before")
    for count in arguments.pictures:
        rows = made_up(count)
        with tempfile.TemporaryDirectory() as folder:
            summary, report = timed(rows, Path(folder))
        told = ""
        if arguments.against:
            before = seconds_before(rows, arguments.against)
            told = f"{before:.2f} s, {before / summary:.1f} times as long"
        own, page = 1000 * summary / count, 1000 * report / count
        print(f"{count:8} {len(rows):7} {summary:7.2f} s {own:10.2f} {report:7.2f} s {page:10.2f}   {told}")


def timed(rows: list[dict[str, Any]], folder: Path) -> tuple[float, float]:
    """Seconds of the summary, from the table to metrics.json, and of the report."""
    facts, evaluation = all_facts(["psnr", "ms_ssim"]), folder / "evaluation"
    frame = mark_compared(to_frame(rows))
    write_measurements(evaluation / MEASUREMENTS_FILE, frame)
    write_json(
        evaluation / EVALUATION_FILE,
        {
            "model": {"name": "balle-li-roi", "setting": "N=64", "lmbda": 0.01, "kind": "ms-ssim", "steps": 0},
            "baselines": {},
            "metrics": [asdict(fact) for fact in facts],
            **{"test_set": "", "all_pictures": "", "known_as": None, "exact": [], "left_out": {}, "skipped_files": {}},
        },
    )
    start = time.process_time()
    write_summary(evaluation, NoLog())
    gains(frame, facts)
    middle = time.process_time()
    write_report(evaluation, "run", {"lmbda": "0.01"}, folder / "report", NoLog())
    return middle - start, time.process_time() - middle


def made_up(count: int) -> list[dict[str, Any]]:
    """Measurements of `count` pictures, in the order in which evaluate makes them."""
    random, rows = np.random.default_rng(0), []
    for number in range(count):
        hardness = random.uniform(0.5, 2)
        for codec, settings in SETTINGS.items():
            for setting in range(settings):
                bpp = hardness * 0.1 * 1.4**setting
                psnr = 26 + 1.5 * setting + random.normal(0, 0.3)
                similarity = 1 - 0.2 * 0.75**setting * random.uniform(0.9, 1.1)
                labelled = number % 2 == 0
                kind = CLASSICAL if codec != "balle-li-roi" else HEADLINE if setting == 2 else OTHER_QUALITY
                rows.append({
                    "image_id": f"picture-{number:05d}", "codec": codec, "setting": f"quality {setting}", "kind": kind,
                    "height": 768, "width": 1024, "source_bytes": 400_000, "stream_bytes": round(bpp * PIXELS / 8), "bpp": bpp,
                    "compression_ratio": 400_000 / (bpp * PIXELS / 8), "encode_seconds": 0.2, "decode_seconds": 0.2,
                    "mse": 255**2 / 10 ** (psnr / 10), "exact": False, "psnr": psnr, "ms_ssim": similarity,
                    "ms_ssim_db": to_db(similarity), "psnr_inside": psnr - 1 if labelled else None,
                    "psnr_outside": psnr + 1 if labelled else None,
                    "psnr_by_class": [{"label": f"class {number % 20}", "value": psnr - 1}] if labelled else [],
                })  # fmt: skip
    return rows


def seconds_before(rows: list[dict[str, Any]], checkout: Path) -> float:
    """What the older checkout takes for the same rows."""
    import json

    command, environment = [sys.executable, "-c", BEFORE], {"PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(command, input=json.dumps(rows), env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
