"""Pascal VOC: one XML file for each picture, beside it or in Annotations/."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path

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
    split_of,
    stated_size,
)
from balle_li.files import printable

EXPECTED = "XML files with <annotation>, beside the pictures or in Annotations/"
DECLARATION = re.compile(r"<\?xml(?:[^>]*?encoding\s*=\s*[\"']([^\"']+)[\"'])?[^>]*\?>")
HEAD_BYTES = 4096


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """VOC's label files under `root`, or in Annotations/ beside it or one folder above."""
    return found_near(
        _annotations(files), root, "Annotations", lambda folder: _annotations(readable(_xml(folder.rglob("*"))))
    )


def _xml(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() == ".xml"]


def _annotations(paths: Iterable[Path]) -> list[Path]:
    return [path for path in _xml(paths) if re.search(rb"<annotation[\s>/]", _head(path).replace(b"\0", b""))]


def _head(path: Path) -> bytes:
    """What a file starts with; that of UTF-16 has a zero beside each letter. Raises DatasetError: it cannot be read."""
    with reading(path), open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures`."""
    labels = Labels("voc")
    finder = PictureFinder(pictures)
    for path in found.files:
        try:
            annotation = _parse(path)
        except ElementTree.ParseError as error:
            labels.add_problem(path, f"not XML: {error}")
            continue
        picture = _picture_of(path, annotation, finder)
        if picture is None:
            if found.complete:
                labels.without_picture.append(printable(path))
            continue
        labels.of(picture)
        stated = stated_size(annotation.findtext("size/width"), annotation.findtext("size/height"))
        size = stated or picture_size(picture)
        if size is None:
            labels.add_problem(path, "neither the labels nor the picture tell its size in pixels")
            continue
        boxes = [_box(path, item, size, labels) for item in annotation.iter("object")]
        labels.add_boxes(picture, on_stored_pixels(boxes, picture, size))
    return labels


def _parse(path: Path) -> ElementTree.Element:
    """The annotation, in whatever encoding it declares: the parser itself knows none of several bytes a letter.

    Raises ParseError: it is not XML.
    """
    head = _head(path)
    declared = DECLARATION.search(head.replace(b"\0", b"").decode("latin-1"))
    encoding = declared[1] if declared else None
    if encoding and re.fullmatch(r"gb2312|gbk|x-gbk", encoding, re.IGNORECASE):
        encoding = "gb18030"  # has all their letters, and those that files hold though neither has them
    elif encoding and "16" in encoding and b"\0" not in head:
        encoding = None  # a tool saved the file again and let the declaration stand
    return ElementTree.fromstring(DECLARATION.sub("", read_text(path, encoding).lstrip("\ufeff"), count=1).strip())


def _picture_of(path: Path, annotation: ElementTree.Element, finder: PictureFinder) -> Path | None:
    """By the label file's own name; else by the name it states, for files numbered in their own way."""
    beside = path.parent.parent
    near = (path.parent, beside / "JPEGImages", beside / "images", beside)
    stated = (annotation.findtext("filename") or "").strip()
    suffix = Path(stated).suffix or ".jpg"
    picture = finder.find(f"{path.stem}{suffix}", near, split_of(path))
    return picture or (finder.find(stated, near, split_of(path)) if stated else None)


def _box(path: Path, item: ElementTree.Element, size: tuple[float, float], labels: Labels) -> Box | None:
    name = (item.findtext("name") or "").strip()
    corners = [number(item.findtext(f"bndbox/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")]
    known = [corner / length for corner, length in zip(corners, size * 2, strict=True) if corner is not None]
    if not name or len(known) != 4:
        labels.add_problem(path, f"an object {name!r} without a name or a bndbox of xmin, ymin, xmax and ymax")
        return None
    return labels.make_box(path, name, known)
