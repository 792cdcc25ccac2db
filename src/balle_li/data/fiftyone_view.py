"""The FiftyOne view of it all: the curated pictures with their boxes and fates, and what models made of them.

The stages' files hold everything that later stages need; the dataset is for querying and for looking at, and can be
made again from the files. Saved views show each split, and what was dropped for each reason.

Every model has fields of its own: `<model>.bpp`, `<model>.psnr` and so on to sort and filter by, `<model>_reconstruction`
to look at in place of the original (the App's "media field"), and a heatmap for each map. Saved views list the pictures
from the worst on.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import EXIF_TURNS, Box, upright_boxes, upright_turns
from balle_li.config import SPLITS
from balle_li.data import REASONS
from balle_li.data.fiftyone_database import connect
from balle_li.data.inspection import Inspection
from balle_li.data.manifest import read_dropped, read_index, read_manifest
from balle_li.errors import DatasetError
from balle_li.files import sha256_file
from balle_li.image_io import exif_orientation, upright_size
from balle_li.progress import progress

NAME = "balle-li"
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
    "shorter_side": int,
    "dropped": str,
    "detail": str,
}
"""Fields of every picture beside its boxes, which are there even if no picture of a dataset has a value for one."""

FIGURES = ("bpp", "psnr", "ms_ssim", "psnr_inside", "psnr_outside", "compression_ratio")
MAPS = ("bits", "importance")
RESULT_VIEWS = {
    "worst inside boxes": ("psnr_inside", False),
    "worst PSNR": ("psnr", False),
    "worst MS-SSIM": ("ms_ssim", False),
    "most bits": ("bpp", True),
}
"""What a saved view is called, the figure it sorts by, and whether the largest comes first."""


def open_curated(raw: Path, curated: Path) -> Any:
    """The FiftyOne dataset of a curation; made again from its files when the database has that of another one.

    Raises StageError: a table is missing. Raises DatasetError: FiftyOne's database cannot be used.
    """
    manifest = curated / "manifest.parquet"
    read_manifest(manifest)
    fiftyone = connect()
    if fiftyone.dataset_exists(NAME):
        dataset = fiftyone.load_dataset(NAME)
        if dataset.info == _made_from(raw, manifest):
            return dataset
    return publish(raw, curated, {})


def publish(raw: Path, curated: Path, measured: Mapping[str, Inspection | str]) -> Any:
    """Make the FiftyOne dataset of a curation from its files, in place of the last one that was published.

    measured: what inspection found, by image_id, as far as it is known. Kept pictures are tagged with their split and
    have the boxes that were kept; dropped ones have all.

    Raises StageError: a table is missing. Raises DatasetError: FiftyOne's database cannot be used.
    """
    index = {row["image_id"]: row for row in read_index(raw / "index.parquet")}
    kept, dropped = read_manifest(curated / "manifest.parquet"), read_dropped(curated / "dropped.parquet")
    facts = [
        *({**row, "tags": [row["split"]]} for row in kept),
        *({**row, "dropped": row["reason"]} for row in dropped),
    ]
    fiftyone = connect()
    dataset = fiftyone.Dataset(f"{NAME}-{uuid.uuid4().hex[:8]}")
    try:
        _declare_fields(fiftyone, dataset)
        with progress("Filling FiftyOne", len(facts), "pictures") as advance:

            def samples() -> Iterator[Any]:
                for picture in facts:
                    image_id = str(picture["image_id"])
                    known = {**index.get(image_id, {}), **picture}
                    yield _sample(fiftyone, raw.resolve(), known, measured.get(image_id))
                    advance(1)

            dataset.add_samples(samples(), num_samples=len(facts), dynamic=False)
        _save_split_views(dataset)
        dataset.info = _made_from(raw, curated / "manifest.parquet")
        dataset.save()
        if fiftyone.dataset_exists(NAME):
            fiftyone.delete_dataset(NAME)
        dataset.name = NAME
        dataset.persistent = True
    finally:
        if not dataset.persistent:
            dataset.delete()
    return dataset


def _made_from(raw: Path, manifest: Path) -> dict[str, str]:
    return {"raw": str(raw.resolve()), "manifest_sha256": sha256_file(manifest)}


def _declare_fields(fiftyone: Any, dataset: Any) -> None:
    kinds = {str: fiftyone.StringField, int: fiftyone.IntField, float: fiftyone.FloatField}
    for name, kind in {"image_id": str, **FACTS}.items():
        dataset.add_sample_field(name, kinds[kind])
    dataset.add_sample_field("boxes", fiftyone.EmbeddedDocumentField, embedded_doc_type=fiftyone.Detections)
    for name in ("is_group_of", "is_depiction"):
        dataset.add_sample_field(f"boxes.detections.{name}", fiftyone.BooleanField)
    dataset.create_index("image_id", unique=True)


def _sample(fiftyone: Any, raw: Path, facts: dict[str, Any], found: Inspection | str | None) -> Any:
    """facts: a picture's row of the index, with that of the manifest or of the dropped over it."""
    boxes, size = _as_browser_shows(raw / facts["path"], facts)
    if facts.get("dropped") == "undecodable":
        facts["problem"] = facts["detail"]
    if isinstance(found, Inspection):
        facts |= {"sha256": found.sha256, "jpeg_quality": found.jpeg_quality}
        facts["perceptual_hash"] = f"{found.perceptual_hash:016x}"
    detections = [
        fiftyone.Detection(
            label=box.label,
            bounding_box=box.to_fiftyone(),
            is_group_of=box.is_group_of,
            is_depiction=box.is_depiction,
        )
        for box in boxes
    ]
    sample = fiftyone.Sample(
        filepath=str(raw / facts["path"]),
        image_id=facts["image_id"],
        tags=facts.get("tags", []),
        boxes=fiftyone.Detections(detections=detections),
        **{name: facts[name] for name in FACTS if name in facts},
    )
    if size is not None:
        sample["shorter_side"] = min(size)
        sample.metadata = fiftyone.ImageMetadata(width=size[0], height=size[1], num_channels=3)
    return sample


def _as_browser_shows(path: Path, facts: Mapping[str, Any]) -> tuple[list[Box], tuple[int, int] | None]:
    """Boxes and (width, height) in the orientation in which a browser shows the file; no size if it cannot be decoded.

    A browser knows of EXIF but not of Open Images' Rotation column; else the App would draw boxes across the picture.
    """
    boxes, rotation = facts.get("boxes", []), facts.get("rotation") or 0.0
    upright = "width" in facts  # of the manifest, whose boxes are upright; those of the index are on the stored pixels
    if upright and not rotation % 360:
        return boxes, (facts["width"], facts["height"])
    try:
        orientation, size = exif_orientation(path), upright_size(path)
        if upright:
            turns = upright_turns(orientation, rotation)[1]
            boxes = [box.rotated(-turns) for box in boxes]
        return upright_boxes(boxes, orientation), size
    except DatasetError:
        return boxes, None


def _save_split_views(dataset: Any) -> None:
    from fiftyone import ViewField as F

    dataset.save_view("kept", dataset.match(~F("dropped").exists()), description="Every picture of the manifest")
    for split in SPLITS:
        dataset.save_view(split, dataset.match_tags(split), description=f"The manifest's pictures for {split}")
    for reason in sorted(dataset.distinct("dropped"), key=REASONS.index):
        dropped = dataset.match(F("dropped") == reason)
        dataset.save_view(f"dropped: {reason}", dropped, description="Not in the manifest")


@dataclass(frozen=True)
class Outcome:
    """What a model made of one picture.

    figures: some of FIGURES; PSNR in dB. reconstruction: a picture file. maps: by a name of MAPS, float32
    `(rows, columns)` that are stretched over the picture. Pictures and maps are in the orientation in which a browser
    shows the original, see `as_shown`.
    """

    image_id: str
    figures: Mapping[str, float | None]
    reconstruction: Path
    maps: Mapping[str, NDArray[np.float32]]


def as_shown(upright: NDArray[Any], orientation: int, rotation: float) -> NDArray[Any]:
    """An upright picture or map `(H, W, …)` as a browser shows its original, which knows EXIF, not Open Images' Rotation."""
    if not rotation % 360:
        return upright
    stored = np.rot90(upright, -upright_turns(orientation, rotation)[1])
    mirror, turns = EXIF_TURNS.get(orientation, (False, 0))
    return np.rot90(stored[:, ::-1] if mirror else stored, turns)


def field_of(model: str) -> str:
    """The name of a model's fields: `balle (N=64, lmbda=0.01)` has `balle_N_64_lmbda_0_01`."""
    return re.sub(r"\W+", "_", model).strip("_")


def has_results(dataset: Any, model: str, key: str) -> bool:
    """Whether the dataset holds the results of `model` that were added with this key."""
    field = dataset.get_field(field_of(model))
    return field is not None and field.description == _description(model, key)


def add_results(dataset: Any, model: str, key: str, results: Iterable[Outcome]) -> None:
    """Give the pictures of `dataset` the results of `model`, in place of earlier ones, and save views of the worst.

    key: tells one set of results from another; see `has_results`.
    """
    fiftyone = connect()
    own = field_of(model)
    known = {result.image_id: result for result in results}  # whatever fails, fails before the earlier ones are gone
    remove_results(dataset, model)
    dataset.add_sample_field(own, fiftyone.EmbeddedDocumentField, embedded_doc_type=fiftyone.DynamicEmbeddedDocument)
    for name in FIGURES:
        dataset.add_sample_field(f"{own}.{name}", fiftyone.FloatField)
    figures = {
        image_id: fiftyone.DynamicEmbeddedDocument(**{name: result.figures.get(name) for name in FIGURES})
        for image_id, result in known.items()
    }
    dataset.set_values(own, figures, key_field="image_id")
    media = f"{own}_reconstruction"
    dataset.add_sample_field(media, fiftyone.StringField)
    paths = {image_id: str(result.reconstruction.resolve()) for image_id, result in known.items()}
    dataset.set_values(media, paths, key_field="image_id")
    for name in MAPS:
        maps = {image_id: result.maps[name] for image_id, result in known.items() if name in result.maps}
        if maps:
            document = fiftyone.Heatmap
            dataset.add_sample_field(f"{own}_{name}", fiftyone.EmbeddedDocumentField, embedded_doc_type=document)
            heatmaps = {image_id: _heatmap(fiftyone, values) for image_id, values in maps.items()}
            dataset.set_values(f"{own}_{name}", heatmaps, key_field="image_id")
    _save_result_views(dataset, model)
    dataset.app_config.media_fields = [*dataset.app_config.media_fields, media]
    dataset.save()
    field = dataset.get_field(own)  # last: where the key is, everything is
    field.description = _description(model, key)
    field.save()


def remove_results(dataset: Any, model: str) -> None:
    """Take away the fields and views of `model`, as far as they are there."""
    own = field_of(model)
    media = f"{own}_reconstruction"
    fields = [name for name in (own, media, *(f"{own}_{name}" for name in MAPS)) if dataset.has_sample_field(name)]
    if fields:
        dataset.delete_sample_fields(fields)
    for name in RESULT_VIEWS:
        if dataset.has_saved_view(f"{model}: {name}"):
            dataset.delete_saved_view(f"{model}: {name}")
    dataset.app_config.media_fields = [name for name in dataset.app_config.media_fields if name != media]
    dataset.save()


def _save_result_views(dataset: Any, model: str) -> None:
    for name, (figure, largest_first) in RESULT_VIEWS.items():
        path = f"{field_of(model)}.{figure}"
        view = dataset.exists(path).sort_by(path, reverse=largest_first)
        order = "the largest" if largest_first else "the lowest"
        dataset.save_view(f"{model}: {name}", view, description=f"By {figure}, {order} first")


def _heatmap(fiftyone: Any, values: NDArray[np.float32]) -> Any:
    return fiftyone.Heatmap(map=values, range=[min(0.0, float(values.min())), max(float(values.max()), 1e-6)])


def _description(model: str, key: str) -> str:
    return f"What {model} made of the picture ({key})"
