"""Pascal VOC: one XML file for each picture, beside it or in Annotations/."""

import dataclasses
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from balle_li.datasets.label_formats.labels import Labels, PictureFinder, on_stored_pixels, picture_size, split_of
from balle_li.datasets.label_formats.staging import import_boxes, key_of, link_pictures

EXPECTED = "XML files with <annotation>, beside the pictures or in Annotations/"


@dataclasses.dataclass(frozen=True)
class Found:
    files: list[Path]
    complete: bool  # the label files lie in the folder itself, so they should be about no other pictures


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """VOC's label files under `root`, or in Annotations/ beside it or one folder above."""
    here = [path for path in files if path.suffix.lower() == ".xml" and _is_annotation(path)]
    if here:
        return Found(here, complete=True)
    for folder in (base / name for base in list(root.parents)[:2] for name in ("Annotations", "annotations")):
        above = [path for path in sorted(folder.rglob("*.xml")) if _is_annotation(path)]
        if above:
            return Found(above, complete=False)
    return None


def _is_annotation(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"<annotation" in file.read(4096)


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures`."""
    labels = Labels("voc")
    finder = PictureFinder(pictures)
    annotations: dict[Path, ElementTree.Element] = {}
    sizes: dict[Path, tuple[int, int]] = {}
    for path in found.files:
        try:
            annotation = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            labels.add_problem(path, f"not XML: {error}")
            continue
        picture = _picture_of(path, annotation, finder)
        if picture is None:
            if found.complete:
                labels.without_picture.append(str(path))
            continue
        labels.set_boxes(picture, [])
        size = _size(annotation) or picture_size(picture)
        if size is None:
            labels.add_problem(path, "neither the labels nor the picture tell its size in pixels")
        else:
            annotations[picture], sizes[picture] = annotation, size
    if annotations:
        with tempfile.TemporaryDirectory(prefix="balle-li-labels-") as name:
            folder = Path(name)
            link_pictures(folder / "data", list(annotations))
            (folder / "labels").mkdir()
            for number, (picture, annotation) in enumerate(annotations.items()):
                _set_size(annotation, sizes[picture])
                ElementTree.ElementTree(annotation).write(folder / "labels" / f"{key_of(number)}.xml", encoding="utf-8")
            import_boxes(
                "fiftyone.utils.voc",
                "VOCDetectionDatasetImporter",
                {"dataset_dir": name, "extra_attrs": False},
                list(annotations),
                labels,
                lambda picture, boxes: on_stored_pixels(boxes, picture, sizes[picture]),
            )
    return labels


def _picture_of(path: Path, annotation: ElementTree.Element, finder: PictureFinder) -> Path | None:
    """By the label file's own name, as FiftyOne does; else by the name it states, for files numbered in their own way."""
    beside = path.parent.parent
    near = (path.parent, beside / "JPEGImages", beside / "images", beside)
    stated = (annotation.findtext("filename") or "").strip()
    suffix = Path(stated).suffix or ".jpg"
    picture = finder.find(f"{path.stem}{suffix}", near, split_of(path))
    return picture or (finder.find(stated, near, split_of(path)) if stated else None)


def _size(annotation: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(annotation.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _set_size(annotation: ElementTree.Element, size: tuple[int, int]) -> None:
    for old in annotation.findall("size"):
        annotation.remove(old)
    element = ElementTree.SubElement(annotation, "size")
    for name, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        ElementTree.SubElement(element, name).text = str(value)
