"""The pictures of a curation as a FiftyOne dataset: their boxes, licences and measures, and what was decided of each.

The stages' files hold everything that later stages need; the dataset is for querying and for looking at. It can be made
again from the files.
"""

import dataclasses
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from balle_li.boxes import Box, upright_boxes, upright_turns
from balle_li.datasets.curation_rules import REASONS, left
from balle_li.datasets.fiftyone_database import connect, in_temporary_workspace
from balle_li.datasets.inspection import Inspection
from balle_li.datasets.manifest import IndexRow
from balle_li.datasets.splits import SPLITS
from balle_li.progress import progress

NAME = "balle-li"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture for the dataset.

    Boxes are in the orientation in which a browser shows the file, which knows of EXIF but not of Open Images'
    Rotation column; else the App would draw them across the picture.
    """

    image_id: str
    path: str  # relative to the raw folder
    boxes: list[Box]
    size: tuple[int, int] | None  # (width, height) as a browser shows it; None: the file cannot be decoded
    facts: dict[str, str | int | float | None]  # further fields


FACTS = {
    "source_url": str,
    "licence": str,
    "author": str,
    "title": str,
    "source_split": str,
    "rotation": float,
    "sha256": str,
    "jpeg_quality": int,
    "perceptual_hash": str,
    "problem": str,
}


def inspected(rows: Iterable[IndexRow], inspections: Mapping[str, Inspection | str]) -> Iterator[Picture]:
    """The pictures of an index with what inspection found."""
    for row in rows:
        found = inspections[row["image_id"]]
        facts: dict[str, Any] = {name: row[name] for name in FACTS if name in row}  # type: ignore[literal-required]
        if isinstance(found, str):
            facts["problem"] = found
            yield Picture(row["image_id"], row["path"], row["boxes"], None, facts)
            continue
        facts["sha256"] = found.sha256
        facts["jpeg_quality"] = found.jpeg_quality
        facts["perceptual_hash"] = f"{found.perceptual_hash:016x}"
        boxes = upright_boxes(row["boxes"], found.orientation)
        size = shown_size(found.width, found.height, found.orientation, row["rotation"])
        yield Picture(row["image_id"], row["path"], boxes, size, facts)


def shown_size(width: int, height: int, orientation: int, rotation: float) -> tuple[int, int]:
    """(width, height) of a picture as a browser shows it, from those of the upright picture."""
    differs = upright_turns(orientation, rotation)[1] + upright_turns(orientation, 0.0)[1]
    return (height, width) if differs % 2 else (width, height)


@contextmanager
def building(raw: Path, pictures: Iterable[Picture], total: int) -> Iterator[Any]:
    """Yield a new FiftyOne dataset of `total` pictures under a name of its own; it is deleted unless it was published."""
    fiftyone = connect()
    dataset = fiftyone.Dataset(f"{NAME}-{uuid.uuid4().hex[:8]}")
    try:
        _declare_fields(fiftyone, dataset)
        with progress("Filling FiftyOne", total, "pictures") as advance:
            samples = (_sample(fiftyone, raw.resolve(), picture, advance) for picture in pictures)
            dataset.add_samples(samples, num_samples=total, dynamic=False)
        yield dataset
    finally:
        if not dataset.persistent:
            dataset.delete()


def mark(dataset: Any, splits: Mapping[str, str]) -> None:
    """Tag every kept picture with its split, and save a view for each split and for each reason of dropping."""
    from fiftyone import ViewField as F

    dataset.set_values("tags", {image_id: [split] for image_id, split in splits.items()}, key_field="image_id")
    dataset.save_view("kept", left(dataset), description="Every picture of the manifest")
    for split in SPLITS:
        dataset.save_view(split, dataset.match_tags(split), description=f"The manifest's pictures for {split}")
    for reason in sorted(dataset.distinct("dropped"), key=REASONS.index):
        dataset.save_view(
            f"dropped: {reason}", dataset.match(F("dropped") == reason), description="Not in the manifest"
        )


def publish(dataset: Any, raw: Path, manifest_sha256: str) -> None:
    """Let `dataset` take the place of the last one that was published.

    In a temporary workspace of DVC nothing is published: its pictures lie at paths that vanish with it.
    """
    if in_temporary_workspace():
        return
    fiftyone = connect()
    dataset.info = {"raw": str(raw.resolve()), "manifest_sha256": manifest_sha256}
    dataset.save()
    if fiftyone.dataset_exists(NAME):
        fiftyone.delete_dataset(NAME)
    dataset.name = NAME
    dataset.persistent = True


def published(raw: Path, manifest_sha256: str) -> Any | None:
    """The published dataset, if it was made from these pictures and has this manifest."""
    fiftyone = connect()
    if not fiftyone.dataset_exists(NAME):
        return None
    dataset = fiftyone.load_dataset(NAME)
    return dataset if dataset.info == {"raw": str(raw.resolve()), "manifest_sha256": manifest_sha256} else None


def _declare_fields(fiftyone: Any, dataset: Any) -> None:
    """So that a field is there even if no picture of this dataset has a value for it."""
    kinds = {str: fiftyone.StringField, int: fiftyone.IntField, float: fiftyone.FloatField}
    declared = {"image_id": str, "shorter_side": int, **FACTS, "dropped": str, "detail": str}
    for name, kind in declared.items():
        dataset.add_sample_field(name, kinds[kind])
    dataset.add_sample_field("boxes", fiftyone.EmbeddedDocumentField, embedded_doc_type=fiftyone.Detections)
    for name, field in (
        ("number", fiftyone.IntField),
        ("is_group_of", fiftyone.BooleanField),
        ("is_depiction", fiftyone.BooleanField),
    ):
        dataset.add_sample_field(f"boxes.detections.{name}", field)
    dataset.create_index("image_id", unique=True)


def _sample(fiftyone: Any, raw: Path, picture: Picture, advance: Any) -> Any:
    advance(1)
    boxes = [
        fiftyone.Detection(
            label=box.label,
            bounding_box=box.to_fiftyone(),
            number=number,  # place in the picture's list of boxes: its corners need not survive FiftyOne's format
            is_group_of=box.is_group_of,
            is_depiction=box.is_depiction,
        )
        for number, box in enumerate(picture.boxes)
    ]
    sample = fiftyone.Sample(
        filepath=str(raw / picture.path),
        image_id=picture.image_id,
        boxes=fiftyone.Detections(detections=boxes),
        **picture.facts,
    )
    if picture.size is not None:
        width, height = picture.size
        sample["shorter_side"] = min(width, height)
        sample.metadata = fiftyone.ImageMetadata(width=width, height=height, num_channels=3)
    return sample
