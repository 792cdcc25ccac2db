"""Made-up measurements for the tests of tables, curves, summaries and plots."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from balle_li.comparison.curves import mean_curves
from balle_li.comparison.summary import summarise as summarise_frame
from balle_li.evaluation.measurements import CLASSICAL, mark_compared, to_frame
from balle_li.evaluation.metrics import all_facts, to_db

PIXELS = 100 * 100
FACTS = all_facts(["psnr", "ms_ssim"])


def measurement(
    image_id: str,
    codec: str,
    setting: str,
    bpp: float,
    psnr: float | None,
    ms_ssim: float | None = 0.95,
    inside: float | None = None,
    by_class: dict[str, float] | None = None,
    kind: str = CLASSICAL,
) -> dict[str, Any]:
    """A picture of 100 × 100 pixels whose source file had 24 bits per pixel; encoded in 10 ms, decoded in 20 ms.

    A PSNR of None is an exact reproduction.
    """
    return {
        "image_id": image_id,
        "codec": codec,
        "setting": setting,
        "kind": kind,
        "height": 100,
        "width": 100,
        "source_bytes": 3 * PIXELS,
        "stream_bytes": round(bpp * PIXELS / 8),
        "bpp": bpp,
        "compression_ratio": 24 / bpp,
        "encode_seconds": 0.010,
        "decode_seconds": 0.020,
        "mse": 0.0 if psnr is None else 255**2 / 10 ** (psnr / 10),
        "exact": psnr is None,
        "psnr": psnr,
        "psnr_inside": inside,
        "psnr_outside": inside,
        "psnr_by_class": [{"label": label, "value": value} for label, value in (by_class or {}).items()],
        "ms_ssim": ms_ssim,
        "ms_ssim_db": None if ms_ssim is None or ms_ssim >= 1 else to_db(ms_ssim),
    }


def table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table that evaluate would make of them."""
    return mark_compared(to_frame(rows))


def summarise(rows: Sequence[dict[str, Any]], lmbda: float = 0.01, **facts: Any) -> dict[str, Any]:
    """metrics.json of rows, those of kinds other than classical being the model's."""
    frame = table(rows)
    name = next(row["codec"] for row in rows if row["kind"] != CLASSICAL)
    evaluation = {
        "model": {"name": name, "setting": "N=8", "lmbda": lmbda, "kind": "ms-ssim", "steps": 10},
        "baselines": {},
        "metrics": [asdict(fact) for fact in FACTS],
        "test_set": "set", "all_pictures": "set", "known_as": None, "skipped_files": {}, "left_out": {},
        "exact": sorted(set(frame.loc[frame["exact"], "image_id"])),
    } | facts  # fmt: skip
    return summarise_frame(frame, evaluation, mean_curves(frame[frame["compared"]], FACTS))
