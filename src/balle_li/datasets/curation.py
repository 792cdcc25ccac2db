"""Curation: which pictures and which of their boxes are worth training on and measuring with, and in which split."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.configuration import require
from balle_li.datasets.splits import SPLITS
from balle_li.files import sha256_file

if TYPE_CHECKING:  # numpy and pyarrow are imported when the stage runs, not when its parameters are read
    from balle_li.datasets.curation_rules import Verdict
    from balle_li.datasets.inspection import Inspection
    from balle_li.datasets.manifest import DroppedRow, IndexRow, ManifestRow

logger = logging.getLogger(__name__)

MOST_HASH_BITS = 10  # beyond this, different photographs collide
NAMED_IN_LOG = 20


@dataclasses.dataclass(frozen=True)
class CurationConfig:
    """The `curate` section of params.yaml."""

    classes: list[str]  # keep only boxes of these classes, and pictures that have one; empty: all
    min_side: int  # pixels of a picture's shorter side
    min_box_area: float  # share of the picture, in [0, 1)
    keep_group_of: bool  # keep boxes around a group of objects
    keep_depictions: bool  # keep boxes around drawings and statues of objects
    min_jpeg_quality: int  # estimated quality of a JPEG picture, 1 to 100; 0 keeps all
    near_duplicate_bits: int  # of a 64-bit perceptual hash; -1 turns the search off
    max_per_class: int  # pictures; 0: no limit
    split: dict[str, float]  # share of the pictures for each of SPLITS

    def __post_init__(self) -> None:
        require(self.min_side >= 1, f"min_side must be at least 1, not {self.min_side}")
        require(0 <= self.min_box_area < 1, f"min_box_area must be at least 0 and below 1, not {self.min_box_area}")
        require(0 <= self.min_jpeg_quality <= 100, f"min_jpeg_quality must be 0 to 100, not {self.min_jpeg_quality}")
        require(
            -1 <= self.near_duplicate_bits <= MOST_HASH_BITS,
            f"near_duplicate_bits must be -1 to {MOST_HASH_BITS}, not {self.near_duplicate_bits}",
        )
        require(self.max_per_class >= 0, f"max_per_class must not be negative, but is {self.max_per_class}")
        require(sorted(self.split) == sorted(SPLITS), f"split must give a share to each of {', '.join(SPLITS)}")
        require(all(share > 0 for share in self.split.values()), "split: every share must be above 0")
        total = sum(self.split.values())
        require(math.isclose(total, 1, abs_tol=1e-6), f"split: the shares add up to {total:g}, not 1")


def curate(raw: Path, config: CurationConfig, seed: int, folder: Path) -> None:
    """Judge every picture of `raw/index.parquet`; write manifest.parquet, dropped.parquet and the report to `folder`.

    The pictures with their boxes and verdicts also go into the FiftyOne dataset `balle-li`, with a saved view for each
    reason of dropping and each split. Equal pictures, config and seed give an equal manifest, byte for byte.

    Raises StageError: the index is missing or unreadable. Raises DatasetError: a class of the config is on no box,
    fewer pictures are left than there are splits, or FiftyOne's database cannot be used.
    """
    from balle_li.datasets import curated_dataset, curation_report
    from balle_li.datasets.curation_rules import check_classes, judge, why_boxes_went
    from balle_li.datasets.inspection import inspect_pictures
    from balle_li.datasets.manifest import read_index, write_dropped, write_manifest
    from balle_li.datasets.raw_folder import own_path

    rows = read_index(raw / "index.parquet")
    check_classes(config.classes, rows)
    inspections = dict(zip((row["image_id"] for row in rows), inspect_pictures(raw, rows), strict=True))
    own = own_path(raw)
    _log_undecodable(rows, inspections, own)
    with curated_dataset.building(raw, curated_dataset.inspected(rows, inspections), len(rows)) as dataset:
        verdict = judge(dataset, inspections, config, seed)
        manifest = _manifest_rows(rows, inspections, verdict)
        dropped = _dropped_rows(rows, verdict)
        write_manifest(folder / "manifest.parquet", manifest)
        write_dropped(folder / "dropped.parquet", dropped)
        curation_report.write(folder, rows, manifest, dropped, why_boxes_went(rows, verdict, config), own)
        curated_dataset.mark(dataset, verdict.splits)
        curated_dataset.publish(dataset, raw, sha256_file(folder / "manifest.parquet"))


def _log_undecodable(
    rows: Sequence["IndexRow"], inspections: Mapping[str, "Inspection | str"], own: Callable[[str], str]
) -> None:
    problems = [(own(row["path"]), problem) for row in rows if isinstance(problem := inspections[row["image_id"]], str)]
    for path, problem in problems[:NAMED_IN_LOG]:
        logger.warning("%s is dropped: %s", path, problem)
    if len(problems) > NAMED_IN_LOG:
        logger.warning("%d more pictures cannot be decoded; report.json names them", len(problems) - NAMED_IN_LOG)


def _manifest_rows(
    rows: Sequence["IndexRow"], inspections: Mapping[str, "Inspection | str"], verdict: "Verdict"
) -> list["ManifestRow"]:
    from balle_li.boxes import upright_boxes

    manifest: list[ManifestRow] = []
    for row in rows:
        inspection = inspections[row["image_id"]]
        if row["image_id"] not in verdict.splits or isinstance(inspection, str):
            continue
        boxes = upright_boxes(row["boxes"], inspection.orientation, row["rotation"])
        manifest.append(
            {
                "image_id": row["image_id"],
                "path": row["path"],
                "width": inspection.width,
                "height": inspection.height,
                "rotation": row["rotation"],
                "split": verdict.splits[row["image_id"]],
                "sha256": inspection.sha256,
                "licence": row["licence"],
                "author": row["author"],
                "source_url": row["source_url"],
                "boxes": [boxes[number] for number in verdict.boxes[row["image_id"]]],
            }
        )
    return manifest


def _dropped_rows(rows: Sequence["IndexRow"], verdict: "Verdict") -> list["DroppedRow"]:
    paths = {row["image_id"]: row["path"] for row in rows}
    return [
        {"image_id": image_id, "path": paths[image_id], "reason": drop.reason, "detail": drop.detail}
        for image_id, drop in sorted(verdict.drops.items())
    ]
