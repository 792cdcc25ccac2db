"""`report.html`: a comparison as one file that needs no network; `comparison.json`: the same figures for programs."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from balle_li.errors import BalleLiError
from balle_li.evaluation.comparison import compare_runs
from balle_li.evaluation.comparison_plots import draw_plots
from balle_li.evaluation.config import TEST_SET
from balle_li.evaluation.evaluated_run import EvaluatedRun, SetResult
from balle_li.evaluation.examples import SHOWN
from balle_li.evaluation.series import make_series
from balle_li.files import write_bytes, write_json

VIEWS = ("original", "model", "jpeg", "bits")
SCRIPTS = ("charts.js", "pictures.js", "report.js")


def write_comparison(runs: Sequence[EvaluatedRun], folder: Path) -> dict[str, Any]:
    """Write report.html, comparison.json and the plots of the test split to `folder`; returns what the JSON holds.

    `runs` are at least one, from the oldest to the newest. Raises BalleLiError when a run's picture cannot be read.
    """
    data = compare_runs(make_series(runs))
    data["made"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "comparison.json", data)
    draw_plots(data["sets"][TEST_SET], folder)
    write_bytes(folder / "report.html", render(with_images(data, runs)).encode())
    return data


def with_images(data: Mapping[str, Any], runs: Sequence[EvaluatedRun]) -> dict[str, Any]:
    """The data, its shown pictures named by the keys of `images`, which holds each once, as data: addresses."""
    images: dict[str, str] = {}
    by_id = {run.run_id: run for run in runs}
    sets = {}
    for name, compared in data["sets"].items():
        shown = {
            run_id: [
                {**entry, "images": _add(images, by_id[run_id].sets[name], entry["image_id"])} for entry in entries
            ]
            for run_id, entries in compared["shown"].items()
        }
        sets[name] = {**compared, "shown": shown}
    return {**data, "sets": sets, "images": images}


def render(data: Mapping[str, Any]) -> str:
    """The page with its style, script and data inside."""
    parts = files("balle_li.evaluation") / "report"
    # A closing tag inside the data would end the script element that carries it.
    packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    page = (parts / "report.html").read_text(encoding="utf-8")
    page = page.replace("{{style}}", (parts / "report.css").read_text(encoding="utf-8"))
    page = page.replace("{{script}}", "\n".join((parts / name).read_text(encoding="utf-8") for name in SCRIPTS))
    return page.replace("{{data}}", packed)


def _add(images: dict[str, str], result: SetResult, image_id: str) -> dict[str, str]:
    keys = {}
    for view in VIEWS:
        path = result.folder / SHOWN / image_id / f"{view}.webp"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BalleLiError(f"{path} cannot be read ({error.strerror})") from None
        keys[view] = hashlib.sha256(content).hexdigest()[:16]
        images[keys[view]] = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return keys
