"""COCO: JSON files with "images", "annotations" and "categories", beside the pictures or in annotations/."""

import json
import mmap
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from balle_li.boxes import Box
from balle_li.data.labels import (
    Found,
    Labels,
    PictureFinder,
    found_near,
    number,
    on_stored_pixels,
    picture_size,
    read_text,
    readable,
    reading,
    split_in_name,
    split_of,
    stated_size,
)
from balle_li.errors import DatasetError

EXPECTED = (
    'JSON files with "images", "annotations" (with "bbox") and "categories", beside the pictures or in annotations/'
)


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """COCO's label files under `root`, or in annotations/ beside it or one folder above."""
    here = _detection_files(path for path in files if path.suffix.lower() == ".json")
    return found_near(here, root, "annotations", lambda folder: _detection_files(readable(folder.glob("*.json"))))


def _detection_files(paths: Iterable[Path]) -> list[Path]:
    """Those about objects; of a folder with COCO's own names only the instances, whose pictures the others repeat."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        if _is_about_objects(path):
            by_folder[path.parent].append(path)
    chosen: list[Path] = []
    for group in by_folder.values():
        chosen += [path for path in group if path.name.startswith("instances_")] or group
    return sorted(chosen)


def _is_about_objects(path: Path) -> bool:
    with reading(path):
        if path.stat().st_size == 0:
            return False
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

            def has(word: str) -> bool:
                return any(content.find(word.encode(code)) >= 0 for code in ("utf-8", "utf-16-le", "utf-16-be"))

            return has('"images"') and has('"annotations"') and (has('"bbox"') or has('"categories"'))


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures`; crowds become groups. Raises DatasetError: a file is not JSON or lacks COCO's tables."""
    labels = Labels("coco")
    finder = PictureFinder(pictures)
    for path in found.files:
        document = _load(path)
        licences, names = _licences(document.get("licenses")), _names(document.get("categories"))
        annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for annotation in document["annotations"]:
            panoptic = annotation.get("segments_info")
            annotations[_id(annotation["image_id"])] += panoptic if isinstance(panoptic, list) else [annotation]
        listed = {_id(image["id"]) for image in document["images"]}
        labels.unknown_pictures += sum(len(group) for image_id, group in annotations.items() if image_id not in listed)
        split = split_in_name(path.stem) or split_of(path)
        near = (path.parent, path.parent / "images", path.parent.parent, path.parent.parent / "images")
        for image in document["images"]:
            picture = finder.find(str(image["file_name"]), near, split)
            if picture is None:
                if found.complete:
                    labels.without_picture.append(str(image["file_name"]))
                continue
            facts, licence = labels.of(picture), image.get("license")
            facts.source_url = _text(image.get("flickr_url")) or _text(image.get("coco_url")) or facts.source_url
            facts.licence = licences.get(_id(licence)) or _text(licence) or facts.licence
            size = stated_size(image.get("width"), image.get("height")) or picture_size(picture)
            if size is None:
                labels.add_problem(picture, "neither the labels nor the picture tell its size in pixels")
                continue
            boxes = [_box(annotation, picture, size, names, labels) for annotation in annotations[_id(image["id"])]]
            labels.add_boxes(picture, on_stored_pixels(boxes, picture, size))
    return labels


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
        for table, columns in {"images": ("id", "file_name"), "annotations": ("image_id",)}.items():
            for row in document[table]:
                for column in columns:
                    row[column]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is not a COCO label file ({type(error).__name__}: {error}); correct or remove it"
        ) from None
    return dict(document)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _id(value: Any) -> str:
    """An id as text that is the same for 7, 7.0, "7" and "007"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _names(categories: Any) -> dict[str, str]:
    """Class names by id. Categories may be a list of objects or of names, or one object with ids or names as its keys."""
    if isinstance(categories, Mapping):
        if "name" in categories:
            categories = [categories]
        else:
            pairs = [
                (value, key)
                if isinstance(value, int)
                else (key, value["name"] if isinstance(value, Mapping) else value)
                for key, value in categories.items()
                if not isinstance(value, Mapping) or "name" in value
            ]
            return {_id(key): str(name) for key, name in pairs}
    names = {}
    for place, category in enumerate(categories if isinstance(categories, list) else []):
        if isinstance(category, Mapping):
            name = str(category.get("name") or category.get("id", ""))
            # One without an id can still be meant by its name.
            names[_id(category.get("id", name))] = name
        else:
            names[_id(place)] = str(category)
    return names


def _licences(licences: Any) -> dict[str, str]:
    """The URLs, or else the names, of licences by their ids; a text in their place is the licence of every picture."""
    if isinstance(licences, str):
        return {_id(None): licences}
    return {
        _id(item.get("id")): str(item.get("url") or item.get("name") or "")
        for item in (licences if isinstance(licences, list) else [])
        if isinstance(item, Mapping)
    }


def _box(
    annotation: Any, picture: Path, size: tuple[float, float], names: Mapping[str, str], labels: Labels
) -> Box | None:
    if not isinstance(annotation, Mapping):
        labels.add_problem(picture, f"{annotation!r} is no annotation")
        return None
    name, corners = names.get(_id(annotation.get("category_id"))), _corners(annotation)
    if name is None:
        labels.add_problem(picture, f"the labels name no category {annotation.get('category_id')!r}")
    elif corners is None:
        labels.add_problem(picture, f"{annotation.get('bbox')!r} is no box [x, y, width, height]")
    else:
        (x0, y0, x1, y1), (width, height) = corners, size
        is_crowd = bool(number(annotation.get("iscrowd")) or annotation.get("iscrowd") is True)
        return labels.make_box(picture, name, (x0 / width, y0 / height, x1 / width, y1 / height), is_crowd)
    return None


def _corners(annotation: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """xmin, ymin, xmax, ymax in pixels: of "bbox", or else around the outlines of "segmentation"."""
    bbox, outlines = annotation.get("bbox"), annotation.get("segmentation")
    if isinstance(bbox, str):
        bbox = re.split(r"[\s,;]+", bbox.strip("[]() "))
    values = [number(value) for value in bbox] if isinstance(bbox, list) else []
    if len(values) == 4 and None not in values:
        x, y, width, height = (value for value in values if value is not None)
        return x, y, x + width, y + height
    if bbox is None and isinstance(outlines, list):
        points = [number(value) for outline in outlines if isinstance(outline, list) for value in outline]
        if len(points) >= 6 and None not in points:
            known = [value for value in points if value is not None]
            return min(known[::2]), min(known[1::2]), max(known[::2]), max(known[1::2])
    return None
