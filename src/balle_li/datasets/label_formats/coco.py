"""COCO: JSON files with "images", "annotations" and "categories", beside the pictures or in annotations/."""

import dataclasses
import json
import mmap
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balle_li.boxes import Box
from balle_li.datasets.label_formats.labels import (
    Labels,
    PictureFinder,
    PictureLabels,
    on_stored_pixels,
    picture_size,
    split_in_name,
    split_of,
)
from balle_li.datasets.label_formats.staging import import_boxes, key_of, link_pictures
from balle_li.errors import DatasetError
from balle_li.files import write_json

EXPECTED = (
    'JSON files with "images", "annotations" (with "bbox") and "categories", beside the pictures or in annotations/'
)


@dataclasses.dataclass(frozen=True)
class Found:
    files: list[Path]
    complete: bool  # the label files lie in the folder itself, so they should be about no other pictures


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """COCO's label files under `root`, or in annotations/ beside it or one folder above."""
    here = _detection_files(path for path in files if path.suffix.lower() == ".json")
    if here:
        return Found(here, complete=True)
    for base in list(root.parents)[:2]:
        above = _detection_files(sorted((base / "annotations").glob("*.json")))
        if above:
            return Found(above, complete=False)
    return None


def _detection_files(paths: Any) -> list[Path]:
    """Those with boxes; of a folder with COCO's own names only the instances, whose pictures the others repeat."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        if _has_boxes(path):
            by_folder[path.parent].append(path)
    chosen: list[Path] = []
    for group in by_folder.values():
        chosen += [path for path in group if path.name.startswith("instances_")] or group
    return sorted(chosen)


def _has_boxes(path: Path) -> bool:
    if path.stat().st_size == 0:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(word) >= 0 for word in (b'"images"', b'"annotations"', b'"bbox"'))


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures`; crowds become groups. Raises DatasetError: a file is not JSON or lacks COCO's tables."""
    labels = Labels("coco")
    finder = PictureFinder(pictures)
    staged = _Staged()
    for path in found.files:
        document = _load(path)
        licences = {item.get("id"): item.get("url") or item.get("name") for item in document.get("licenses") or []}
        names = {
            category["id"]: str(category.get("name", category["id"])) for category in document.get("categories") or []
        }
        annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in document["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        listed = {image["id"] for image in document["images"]}
        labels.unknown_pictures += sum(len(found) for number, found in annotations.items() if number not in listed)
        split = split_in_name(path.stem) or split_of(path)
        near = (path.parent, path.parent / "images", path.parent.parent, path.parent.parent / "images")
        for image in document["images"]:
            picture = finder.find(str(image["file_name"]), near, split)
            if picture is None:
                if found.complete:
                    labels.without_picture.append(str(image["file_name"]))
                continue
            labels.by_picture[picture] = PictureLabels(
                source_url=image.get("flickr_url") or image.get("coco_url") or None,
                licence=licences.get(image.get("license")) or None,
            )
            size = _size(image) or picture_size(picture)
            if size is None:
                labels.add_problem(picture, "neither the labels nor the picture tell its size in pixels")
            else:
                staged.add(picture, size, annotations[image["id"]], names, labels)
    if staged.pictures:
        staged.import_into(labels)
    return labels


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        for table, columns in {"images": ("id", "file_name"), "annotations": ("image_id",)}.items():
            for row in document[table]:
                for column in columns:
                    row[column]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is not a COCO label file ({type(error).__name__}: {error}); correct or remove it"
        ) from None
    return dict(document)


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (int(width), int(height)) if width and height else None


class _Staged:
    """One COCO file of the pictures that are there, numbered afresh, with what boxes need and no more."""

    def __init__(self) -> None:
        self.pictures: list[Path] = []
        self.sizes: dict[Path, tuple[int, int]] = {}
        self._numbers: dict[Path, int] = {}
        self._annotations: list[dict[str, Any]] = []
        self._classes: dict[str, int] = {}

    def add(
        self,
        picture: Path,
        size: tuple[int, int],
        annotations: list[dict[str, Any]],
        names: dict[Any, str],
        labels: Labels,
    ) -> None:
        if picture not in self._numbers:
            self._numbers[picture] = len(self.pictures)
            self.pictures.append(picture)
            self.sizes[picture] = size
        for annotation in annotations:
            name, corners = names.get(annotation.get("category_id")), annotation.get("bbox")
            if name is None:
                labels.add_problem(picture, f"the labels name no category {annotation.get('category_id')!r}")
            elif not isinstance(corners, list) or len(corners) != 4:
                labels.add_problem(picture, f"{corners!r} is no box [x, y, width, height]")
            else:
                staged = {
                    "image_id": self._numbers[picture],
                    "bbox": corners,
                    "iscrowd": int(annotation.get("iscrowd") or 0),
                }
                staged["category_id"] = self._classes.setdefault(name, len(self._classes))
                self._annotations.append({"id": len(self._annotations), **staged})

    def import_into(self, labels: Labels) -> None:
        images = [
            {"id": i, "file_name": f"{key_of(i)}{picture.suffix.lower()}", "width": size[0], "height": size[1]}
            for i, (picture, size) in enumerate(self.sizes.items())
        ]
        categories = [{"id": i, "name": name} for name, i in self._classes.items()]
        with tempfile.TemporaryDirectory(prefix="balle-li-labels-") as folder:
            link_pictures(Path(folder) / "data", self.pictures)
            write_json(
                Path(folder) / "labels.json",
                {"images": images, "annotations": self._annotations, "categories": categories},
            )
            options = {"dataset_dir": folder, "label_types": "detections", "extra_attrs": False}
            import_boxes(
                "fiftyone.utils.coco", "COCODetectionDatasetImporter", options, self.pictures, labels, self._finish
            )

    def _finish(self, picture: Path, boxes: list[Box]) -> list[Box]:
        return on_stored_pixels(boxes, picture, self.sizes[picture])
