"""The rules that keep or drop pictures and boxes, as FiftyOne views narrowed one reason after the other."""

import dataclasses
import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    """Keep or drop every picture of the FiftyOne dataset and every box, and give the kept ones a split.

    Filtered boxes are deleted from the dataset. Raises DatasetError: fewer pictures are left than there are splits.
    """
    drops: dict[str, Drop] = {}
    view = _drop_by_file(dataset, config, drops)
    view = _filter_boxes(view, config)
    view = _drop_by_class(view, config, drops)
    remaining = _measured(view.values("image_id"), inspections)
    for image_id, twin in exact_duplicates(remaining).items():
        drops[image_id] = Drop("exact_duplicate", f"the same file as {twin}")
        del remaining[image_id]
    if config.near_duplicate_bits >= 0:
        for image_id, twin in near_duplicates(remaining, config.near_duplicate_bits).items():
            drops[image_id] = Drop("near_duplicate", f"looks like {twin}")
            del remaining[image_id]
    view = view.match(_image_id_in(remaining))
    if config.max_per_class:
        labels = dict(zip(*view.values(["image_id", "boxes.detections.label"]), strict=True))
        for image_id, label in _over_class_cap(labels, config.max_per_class, seed).items():
            drops[image_id] = Drop("over_class_cap", f"there are {config.max_per_class} other pictures of {label}")
            del remaining[image_id]
        view = view.match(_image_id_in(remaining))
    _check_enough(len(remaining), drops)
    numbers = dict(zip(*view.values(["image_id", "boxes.detections.number"]), strict=True))
    return Verdict(
        splits=assign_splits(remaining, config.split, seed),
        boxes={image_id: list(kept or []) for image_id, kept in numbers.items()},
        drops=drops,
    )


def _drop_by_file(view: Any, config: CurationConfig, drops: dict[str, Drop]) -> Any:
    """Drop by what the files are: not decodable, too small, too strongly compressed."""
    from fiftyone import ViewField as F

    side = F("shorter_side")
    quality = F("jpeg_quality")
    rules = (
        ("undecodable", F("problem") != None, "problem", "{}"),  # noqa: E711 -- an expression, not a comparison
        ("too_small", side < config.min_side, "shorter_side", "its shorter side has {} pixels"),
        ("low_jpeg_quality", (quality != None) & (quality < config.min_jpeg_quality), "jpeg_quality", "quality {}"),  # noqa: E711
    )
    for reason, fault, field, detail in rules:
        for image_id, value in zip(*view.match(fault).values(["image_id", field]), strict=True):
            drops[image_id] = Drop(reason, detail.format(value))
        view = view.match(~fault)
    return view


def _filter_boxes(view: Any, config: CurationConfig) -> Any:
    from fiftyone import ViewField as F

    keep = F("bounding_box")[2] * F("bounding_box")[3] >= config.min_box_area
    if config.classes:
        keep &= F("label").is_in(config.classes)
    if not config.keep_group_of:
        keep &= ~F("is_group_of")
    if not config.keep_depictions:
        keep &= ~F("is_depiction")
    view.filter_labels("boxes", keep, only_matches=False).save("boxes")
    return view


def _drop_by_class(view: Any, config: CurationConfig, drops: dict[str, Drop]) -> Any:
    from fiftyone import ViewField as F

    if not config.classes:
        return view
    empty = F("boxes.detections").length() == 0
    for image_id in view.match(empty).values("image_id"):
        drops[image_id] = Drop("no_boxes_of_class", "no box of curate.classes, or none that passes the filters of boxes")
    return view.match(~empty)


def _measured(image_ids: Iterable[str], inspections: Mapping[str, Inspection | str]) -> dict[str, Inspection]:
    pictures = {}
    for image_id in image_ids:
        inspection = inspections[image_id]
        if isinstance(inspection, Inspection):
            pictures[image_id] = inspection
    return pictures


def _image_id_in(pictures: Mapping[str, Inspection]) -> Any:
    from fiftyone import ViewField as F

    return F("image_id").is_in(list(pictures))


def _over_class_cap(labels: Mapping[str, Sequence[str] | None], most: int, seed: int) -> dict[str, str]:
    """The pictures to drop so that no class is on more than `most` pictures, with the class that is full.

    Pictures with the rarest classes are taken first, the others at random: else pictures of rare objects would go
    because a common one, such as a person, is on them too.
    """
    classes = {image_id: sorted(set(found or ())) for image_id, found in labels.items()}
    frequency = Counter(label for found in classes.values() for label in found)

    def rarest_first(image_id: str) -> tuple[int, float, str]:
        rarest = min((frequency[label] for label in classes[image_id]), default=0)
        return rarest, hash_fraction(seed, image_id), image_id

    taken: dict[str, int] = defaultdict(int)
    over = {}
    for image_id in sorted(classes, key=rarest_first):
        full = [label for label in classes[image_id] if taken[label] >= most]
        if full:
            over[image_id] = full[0]
            continue
        for label in classes[image_id]:
            taken[label] += 1
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
