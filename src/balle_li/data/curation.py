"""Curation: which pictures and which of their boxes are worth training on and measuring with, and in which split.

`apply_rules` decides: a pure function from a table of pictures and a table of their boxes to what becomes of each. The
rest reads what it needs and writes what it decides.
"""

import dataclasses
import itertools
import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.config import SPLITS, CurationConfig
from balle_li.data import BOX_REASONS, REASONS
from balle_li.errors import DatasetError, near
from balle_li.files import hash_fraction

if TYPE_CHECKING:  # pandas and pyarrow are imported when the stage runs, not when its parameters are read
    import pandas as pd

    from balle_li.data.inspection import Inspection
    from balle_li.data.manifest import DroppedRow, IndexRow, ManifestRow

logger = logging.getLogger(__name__)

MOST_HASH_BITS = 10  # beyond this, different photographs collide
NAMED_IN_LOG = 20


def curate(raw: Path, config: CurationConfig, seed: int, folder: Path) -> None:
    """Apply the rules to every picture of `raw/index.parquet`; write manifest, dropped and the report to `folder`.

    The pictures with their boxes and fates also go into the FiftyOne dataset `balle-li`. Equal pictures, config and
    seed give an equal manifest, byte for byte.

    Raises StageError: the index is missing or unreadable. Raises DatasetError: a class of the config is on no box,
    fewer pictures remain than there are splits, or FiftyOne's database cannot be used.
    """
    from balle_li.data import curation_report, fiftyone_view
    from balle_li.data.fiftyone_database import in_temporary_workspace
    from balle_li.data.inspection import inspect_pictures
    from balle_li.data.manifest import own_path, read_index, write_dropped, write_manifest

    rows = read_index(raw / "index.parquet")
    check_classes(config.classes, rows)
    inspections = list(inspect_pictures(raw, rows))
    own = own_path(raw)
    _log_undecodable(rows, inspections, own)
    outcome = apply_rules(pictures_table(rows, inspections), boxes_table(rows), config, seed)
    manifest, dropped = _manifest_rows(rows, inspections, outcome), _dropped_rows(rows, outcome)
    write_manifest(folder / "manifest.parquet", manifest)
    write_dropped(folder / "dropped.parquet", dropped)
    counts = outcome.boxes["reason"].value_counts()
    boxes_dropped = {reason: int(counts.get(reason, 0)) for reason in BOX_REASONS}
    curation_report.write(folder, rows, manifest, dropped, boxes_dropped, own)
    if not in_temporary_workspace():  # the pictures of one lie at paths that vanish with it
        measured = {row["image_id"]: found for row, found in zip(rows, inspections, strict=True)}
        fiftyone_view.publish(raw, folder, measured)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What becomes of every picture and box.

    pictures: by image_id, `reason` (one of REASONS, "" if it is kept), `detail` and `split` ("" if it is dropped).
    boxes: `image_id`, `number` in the picture's list, and `reason` (one of BOX_REASONS, "" if it is kept).
    """

    pictures: "pd.DataFrame"
    boxes: "pd.DataFrame"


def pictures_table(rows: Sequence["IndexRow"], inspections: Sequence["Inspection | str"]) -> "pd.DataFrame":
    """By image_id: `problem` of a picture that cannot be decoded; else `shorter_side`, `jpeg_quality` and `inspection`."""
    import pandas as pd

    records = [
        (found, None, None, None) if isinstance(found, str) else (None, found.shorter_side, found.jpeg_quality, found)
        for found in inspections
    ]
    ids = pd.Index([row["image_id"] for row in rows], dtype=object)
    columns = ["problem", "shorter_side", "jpeg_quality", "inspection"]
    return pd.DataFrame(records, index=ids, columns=columns, dtype=object)


def boxes_table(rows: Iterable["IndexRow"]) -> "pd.DataFrame":
    """One row a box: `image_id`, `number` in the picture's list, `label`, `area`, `is_group_of`, `is_depiction`."""
    import pandas as pd

    types = {"image_id": object, "number": int, "label": object, "area": float}
    types |= {"is_group_of": bool, "is_depiction": bool}
    records = [
        (row["image_id"], number, box.label, box.area, box.is_group_of, box.is_depiction)
        for row in rows
        for number, box in enumerate(row["boxes"])
    ]
    return pd.DataFrame.from_records(records, columns=list(types)).astype(types)


def apply_rules(pictures: "pd.DataFrame", boxes: "pd.DataFrame", config: CurationConfig, seed: int) -> Outcome:
    """Decide on the pictures of `pictures_table` and the boxes of `boxes_table`; give the kept pictures a split.

    Raises DatasetError: fewer pictures remain than there are splits.
    """
    import pandas as pd

    from balle_li.data.inspection import exact_duplicates, near_duplicates

    drops: dict[str, tuple[str, str]] = {}
    remaining = pictures

    def drop(reason: str, details: Mapping[Any, str]) -> None:
        nonlocal remaining
        drops.update({image_id: (reason, detail) for image_id, detail in details.items()})
        remaining = remaining.drop(index=list(details))

    drop("undecodable", dict(remaining["problem"].dropna()))
    small = remaining["shorter_side"].loc[lambda side: side < config.min_side]
    drop("too_small", {image_id: f"its shorter side has {side} pixels" for image_id, side in small.items()})
    coarse = remaining["jpeg_quality"].dropna().loc[lambda quality: quality < config.min_jpeg_quality]
    drop("low_jpeg_quality", {image_id: f"quality {quality}" for image_id, quality in coarse.items()})
    box_reasons = _box_reasons(boxes, config)
    kept = boxes[box_reasons == ""]
    if config.classes:
        empty = remaining.index.difference(pd.Index(kept["image_id"]))
        drop(
            "no_boxes_of_class", dict.fromkeys(empty, "no box of curate.classes, or none that passes the other filters")
        )
    boxes_on = Counter(kept["image_id"])
    twins = exact_duplicates(dict(remaining["inspection"]), boxes_on)
    drop("exact_duplicate", {image_id: f"the same file as {twin}" for image_id, twin in twins.items()})
    twins = near_duplicates(dict(remaining["inspection"]), boxes_on, config.near_duplicate_bits)
    drop("near_duplicate", {image_id: f"looks like {twin}" for image_id, twin in twins.items()})
    if config.max_per_class:
        drop(
            "over_class_cap", _over_class_cap(kept[kept["image_id"].isin(remaining.index)], config.max_per_class, seed)
        )

    _check_enough(len(remaining), drops)
    splits = assign_splits(remaining.index, config.split, seed)
    fates = [(*drops.get(image_id, ("", "")), splits.get(image_id, "")) for image_id in pictures.index]
    return Outcome(
        pd.DataFrame(fates, index=pictures.index, columns=["reason", "detail", "split"], dtype=object),
        boxes[["image_id", "number"]].assign(reason=box_reasons.mask(boxes["image_id"].isin(drops), "picture_dropped")),
    )


def _box_reasons(boxes: "pd.DataFrame", config: CurationConfig) -> "pd.Series[str]":
    """For each box the first reason to drop it, whatever becomes of its picture; "" if there is none."""
    import numpy as np
    import pandas as pd

    conditions = {
        "too_small": boxes["area"] < config.min_box_area,
        "other_class": ~boxes["label"].isin(config.classes or boxes["label"]),
        "group_of": boxes["is_group_of"] & (not config.keep_group_of),
        "depiction": boxes["is_depiction"] & (not config.keep_depictions),
    }
    return pd.Series(np.select(list(conditions.values()), list(conditions), default=""), boxes.index, dtype=object)


def _over_class_cap(boxes: "pd.DataFrame", most: int, seed: int) -> dict[str, str]:
    """The pictures to drop so that no class is on more than `most` pictures, and why each.

    Pictures with the rarest classes are taken first, the others at random: else pictures of rare objects would go
    because a common one, such as a person, is on them too.
    """
    pairs = boxes[["image_id", "label"]].drop_duplicates().sort_values("label")
    frequency = Counter(pairs["label"])
    classes = {str(image_id): list(labels) for image_id, labels in pairs.groupby("image_id")["label"]}

    def rarest_first(image_id: str) -> tuple[int, float, str]:
        return min(frequency[label] for label in classes[image_id]), hash_fraction(seed, image_id), image_id

    taken: Counter[str] = Counter()
    over = {}
    for image_id in sorted(classes, key=rarest_first):
        full = [label for label in classes[image_id] if taken[label] >= most]
        if full:
            over[image_id] = f"there are {most} other pictures of {', '.join(full)}"
        else:
            taken.update(classes[image_id])
    return over


def assign_splits(image_ids: Iterable[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of every picture by a hash of its id, so that adding pictures moves no other.

    fractions: of the pictures, for each of SPLITS, all above 0, 1 in sum. Each id falls on a point of [0, 1), cut into
    one interval a split. Among few pictures a split may stay empty: then the picture nearest to its interval joins it,
    from a split that has more than one.

    Raises DatasetError: there are fewer pictures than splits.
    """
    points = {image_id: hash_fraction(seed, image_id) for image_id in sorted(image_ids)}
    if len(points) < len(SPLITS):
        raise DatasetError(
            f"{len(points)} pictures cannot be split into {', '.join(SPLITS)}: bring at least {len(SPLITS)}"
        )
    ends = list(itertools.accumulate(fractions[split] for split in SPLITS))
    intervals = dict(zip(SPLITS, itertools.pairwise([0.0, *ends]), strict=True))
    # The fractions' rounding may leave a gap below 1, which belongs to the last split.
    splits = {image_id: SPLITS[min(bisect_right(ends, point), len(SPLITS) - 1)] for image_id, point in points.items()}
    for split, (low, high) in intervals.items():
        members = Counter(splits.values())
        if not members[split]:
            movable = [image_id for image_id in points if members[splits[image_id]] > 1]
            splits[min(movable, key=lambda image_id: max(low - points[image_id], points[image_id] - high))] = split
    return splits


def check_classes(classes: Sequence[str], rows: Iterable["IndexRow"]) -> None:
    """Raise DatasetError if one of `classes` is on no box of the index."""
    known = {box.label for row in rows for box in row["boxes"]}
    for name in classes:
        if name not in known:
            labels = f"there are {', '.join(sorted(known)[:5])}" if known else "the pictures have no boxes at all"
            raise DatasetError(f"curate.classes: no box is labelled {name!r}: {near(name, known)}{labels}")


def _check_enough(kept: int, drops: Mapping[str, tuple[str, str]]) -> None:
    if kept >= len(SPLITS):
        return
    counts = Counter(reason for reason, _ in drops.values())
    why = ", ".join(f"{counts[reason]} {reason}" for reason in REASONS if counts[reason]) or "none dropped"
    raise DatasetError(
        f"{kept} of {kept + len(drops)} pictures remain ({why}) and at least {len(SPLITS)} are needed: "
        "bring more pictures, or relax `curate` in params.yaml"
    )


def _log_undecodable(
    rows: Sequence["IndexRow"], inspections: Sequence["Inspection | str"], own: Callable[[str], str]
) -> None:
    problems = [
        (own(row["path"]), found) for row, found in zip(rows, inspections, strict=True) if isinstance(found, str)
    ]
    for path, problem in problems[:NAMED_IN_LOG]:
        logger.warning("%s is dropped: %s", path, problem)
    if len(problems) > NAMED_IN_LOG:
        logger.warning("%d more pictures cannot be decoded; report.json names them", len(problems) - NAMED_IN_LOG)


def _manifest_rows(
    rows: Sequence["IndexRow"], inspections: Sequence["Inspection | str"], outcome: Outcome
) -> list["ManifestRow"]:
    from balle_li.boxes import upright_boxes

    kept_boxes = outcome.boxes[outcome.boxes["reason"] == ""].groupby("image_id")["number"].agg(list)
    manifest: list[ManifestRow] = []
    for row, found, split in zip(rows, inspections, outcome.pictures["split"], strict=True):
        if isinstance(found, str) or not split:
            continue
        boxes = upright_boxes(row["boxes"], found.orientation, row["rotation"])
        manifest.append(
            {
                "image_id": row["image_id"],
                "path": row["path"],
                "width": found.width,
                "height": found.height,
                "rotation": row["rotation"],
                "split": split,
                "sha256": found.sha256,
                "licence": row["licence"],
                "author": row["author"],
                "source_url": row["source_url"],
                "boxes": [boxes[number] for number in kept_boxes.get(row["image_id"], [])],
            }
        )
    return manifest


def _dropped_rows(rows: Sequence["IndexRow"], outcome: Outcome) -> list["DroppedRow"]:
    fates = zip(rows, outcome.pictures["reason"], outcome.pictures["detail"], strict=True)
    return [
        {"image_id": row["image_id"], "path": row["path"], "reason": reason, "detail": detail}
        for row, reason, detail in fates
        if reason
    ]
