"""The rules that keep or drop pictures and boxes, as FiftyOne views narrowed one reason after the other."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from balle_li.boxes import Box
from balle_li.datasets.curation import CurationConfig
from balle_li.datasets.duplicates import exact_duplicates, near_duplicates
from balle_li.datasets.inspection import Inspection
from balle_li.datasets.manifest import IndexRow
from balle_li.datasets.splits import SPLITS, assign_splits
from balle_li.errors import DatasetError
from balle_li.files import hash_fraction

# In the order in which they are judged; a picture is dropped for the first that holds.
REASONS = (
    "undecodable",
    "too_small",
    "low_jpeg_quality",
    "no_boxes_of_class",
    "exact_duplicate",
    "near_duplicate",
    "over_class_cap",
)


BOX_REASONS = ("picture_dropped", "too_small", "other_class", "group_of", "depiction")
"""Why a box is not kept, in the order in which that is asked."""


@dataclasses.dataclass(frozen=True)
class Drop:
    """Why a picture is not kept."""

    reason: str  # one of REASONS
    detail: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What becomes of every picture; a picture is in `splits` and `boxes`, or else in `drops`."""

    splits: dict[str, str]  # image_id -> train, validation or test
    boxes: dict[str, list[int]]  # image_id -> which boxes of its row in the index are kept
    drops: dict[str, Drop]


def check_classes(classes: Sequence[str], rows: Iterable[IndexRow]) -> None:
    """Raise DatasetError if one of `classes` is on no box of the index."""
    known = {box.label for row in rows for box in row["boxes"]}
    for name in classes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)[:5]
            hint = f"did you mean {' or '.join(near)}?" if near else "the pictures have no boxes at all"
            raise DatasetError(f"curate.classes: no box is labelled {name!r}; {hint}")


def judge(dataset: Any, inspections: Mapping[str, Inspection | str], config: CurationConfig, seed: int) -> Verdict:
    """Keep or drop every picture of the FiftyOne dataset and every box, and give the kept pictures a split.

    The fields `dropped` and `detail` of the dataset say why a picture is dropped; filtered boxes are deleted from it.
    Raises DatasetError: fewer pictures are left than there are splits.
    """
    drops: dict[str, Drop] = {}

    def drop(reason: str, details: Mapping[str, str]) -> None:
        drops.update({image_id: Drop(reason, detail) for image_id, detail in details.items()})
        dataset.set_values("dropped", dict.fromkeys(details, reason), key_field="image_id")
        dataset.set_values("detail", dict(details), key_field="image_id")

    for reason, find in (("undecodable", _undecodable), ("too_small", _too_small), ("low_jpeg_quality", _low_quality)):
        drop(reason, find(left(dataset), config))
    _filter_boxes(left(dataset), config)
    drop("no_boxes_of_class", _without_boxes(left(dataset), config))
    exact = exact_duplicates(_measured(left(dataset), inspections))
    drop("exact_duplicate", {image_id: f"the same file as {twin}" for image_id, twin in exact.items()})
    near = near_duplicates(_measured(left(dataset), inspections), config.near_duplicate_bits)
    drop("near_duplicate", {image_id: f"looks like {twin}" for image_id, twin in near.items()})
    drop("over_class_cap", _over_class_cap(_labels(left(dataset)), config.max_per_class, seed))

    image_ids, numbers = left(dataset).values(["image_id", "boxes.detections.number"])
    _check_enough(len(image_ids), drops)
    return Verdict(
        splits=assign_splits(image_ids, config.split, seed),
        boxes={image_id: list(kept or ()) for image_id, kept in zip(image_ids, numbers, strict=True)},
        drops=drops,
    )


def left(dataset: Any) -> Any:
    """The view of the pictures that no reason has dropped."""
    from fiftyone import ViewField as F

    return dataset.match(~F("dropped").exists())


def _undecodable(view: Any, config: CurationConfig) -> dict[str, str]:
    from fiftyone import ViewField as F

    return dict(zip(*view.match(F("problem").exists()).values(["image_id", "problem"]), strict=True))


def _too_small(view: Any, config: CurationConfig) -> dict[str, str]:
    from fiftyone import ViewField as F

    image_ids, sides = view.match(F("shorter_side") < config.min_side).values(["image_id", "shorter_side"])
    return {image_id: f"its shorter side has {side} pixels" for image_id, side in zip(image_ids, sides, strict=True)}


def _low_quality(view: Any, config: CurationConfig) -> dict[str, str]:
    from fiftyone import ViewField as F

    quality = F("jpeg_quality")
    low = view.match(quality.exists() & (quality < config.min_jpeg_quality))
    image_ids, qualities = low.values(["image_id", "jpeg_quality"])
    return {image_id: f"quality {quality}" for image_id, quality in zip(image_ids, qualities, strict=True)}


def _filter_boxes(view: Any, config: CurationConfig) -> None:
    from fiftyone import ViewField as F

    keep = F("bounding_box")[2] * F("bounding_box")[3] >= config.min_box_area
    if config.classes:
        keep &= F("label").is_in(config.classes)
    if not config.keep_group_of:
        keep &= ~F("is_group_of")
    if not config.keep_depictions:
        keep &= ~F("is_depiction")
    view.filter_labels("boxes", keep, only_matches=False).save("boxes")


def why_boxes_went(rows: Iterable[IndexRow], verdict: Verdict, config: CurationConfig) -> dict[str, int]:
    """How many boxes were dropped for each of BOX_REASONS."""
    counts = Counter[str]()
    for row in rows:
        kept = verdict.boxes.get(row["image_id"])
        if kept is None:
            counts["picture_dropped"] += len(row["boxes"])
            continue
        counts.update(_why_box_went(row["boxes"][i], config) for i in {*range(len(row["boxes"]))}.difference(kept))
    return {reason: counts[reason] for reason in BOX_REASONS}


def _why_box_went(box: Box, config: CurationConfig) -> str:
    """For a box that `_filter_boxes` left out: by which of its conditions."""
    if box.area >= config.min_box_area:
        if config.classes and box.label not in config.classes:
            return "other_class"
        if box.is_group_of and not config.keep_group_of:
            return "group_of"
        if box.is_depiction and not config.keep_depictions:
            return "depiction"
    return "too_small"  # also where the database's product of sides rounds to the other side of the bound


def _without_boxes(view: Any, config: CurationConfig) -> dict[str, str]:
    from fiftyone import ViewField as F

    if not config.classes:
        return {}
    empty = view.match(F("boxes.detections").length() == 0)
    return dict.fromkeys(empty.values("image_id"), "no box of curate.classes, or none that passes the other filters")


def _labels(view: Any) -> dict[str, list[str]]:
    """The classes of every picture's boxes, each once."""
    image_ids, labels = view.values(["image_id", "boxes.detections.label"])
    return {image_id: sorted(set(found or ())) for image_id, found in zip(image_ids, labels, strict=True)}


def _measured(view: Any, inspections: Mapping[str, Inspection | str]) -> dict[str, Inspection]:
    found = {image_id: inspections[image_id] for image_id in view.values("image_id")}
    return {image_id: inspection for image_id, inspection in found.items() if isinstance(inspection, Inspection)}


def _over_class_cap(classes: Mapping[str, Sequence[str]], most: int, seed: int) -> dict[str, str]:
    """The pictures to drop so that no class is on more than `most` pictures, and why each; none if `most` is 0.

    Pictures with the rarest classes are taken first, the others at random: else pictures of rare objects would go
    because a common one, such as a person, is on them too.
    """
    if most == 0:
        return {}
    frequency = Counter(label for found in classes.values() for label in found)

    def rarest_first(image_id: str) -> tuple[int, float, str]:
        rarest = min((frequency[label] for label in classes[image_id]), default=0)
        return rarest, hash_fraction(seed, image_id), image_id

    taken: Counter[str] = Counter()
    over = {}
    for image_id in sorted(classes, key=rarest_first):
        full = [label for label in classes[image_id] if taken[label] >= most]
        if full:
            over[image_id] = f"there are {most} other pictures of {', '.join(full)}"
        else:
            taken.update(classes[image_id])
    return over


def _check_enough(kept: int, drops: Mapping[str, Drop]) -> None:
    if kept >= len(SPLITS):
        return
    counts = Counter(drop.reason for drop in drops.values())
    why = ", ".join(f"{counts[reason]} {reason}" for reason in REASONS if counts[reason]) or "none dropped"
    raise DatasetError(
        f"{kept} of {kept + len(drops)} pictures are left ({why}) and at least {len(SPLITS)} are needed: "
        "bring more pictures, or relax `curate` in params.yaml"
    )
