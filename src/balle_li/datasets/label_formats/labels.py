"""What every label format has in common: labels by picture, which picture a label means, and which split it is in."""

import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from balle_li.boxes import Box, upright_turns
from balle_li.datasets.pictures import exif_orientation, upright_size
from balle_li.errors import DatasetError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclasses.dataclass
class PictureLabels:
    """What the labels say about one picture. Boxes are drawn on the stored pixels."""

    boxes: list[Box] = dataclasses.field(default_factory=list)
    source_url: str | None = None
    licence: str | None = None
    author: str | None = None
    title: str | None = None
    rotation: float = 0.0  # degrees counter-clockwise


@dataclasses.dataclass
class Labels:
    """The labels of one folder."""

    kind: str
    by_picture: dict[Path, PictureLabels] = dataclasses.field(default_factory=dict)
    without_picture: list[str] = dataclasses.field(default_factory=list)  # what labels name and is not in the folder
    must_have_pictures: bool = True  # whether a label without its picture means that a picture is missing
    problems: list[dict[str, str]] = dataclasses.field(default_factory=list)  # {"labels", "reason"} of unusable labels
    clipped_boxes: int = 0  # that stuck out of their picture
    crowd_boxes: int = 0  # around many objects, which become boxes of a group
    unknown_pictures: int = 0  # annotations of pictures that the label files do not list

    def add_problem(self, labels: str | os.PathLike[str], reason: str) -> None:
        self.problems.append({"labels": str(labels), "reason": " ".join(reason.split())})

    def set_boxes(self, picture: Path, boxes: Iterable[Box]) -> None:
        """The picture's boxes, each once though two label files should have it."""
        self.by_picture.setdefault(picture, PictureLabels()).boxes = list(dict.fromkeys(boxes))


def split_of(path: Path) -> str | None:
    """train, validation or test, from the nearest part of the path that says so ("images/val2017/1.jpg")."""
    for part in reversed(path.parts):
        word = re.fullmatch(r"([a-z]+)[-_]?(?:19|20)?(?:\d\d)?", part.lower())
        if word and word[1] in SPLIT_NAMES:
            return SPLIT_NAMES[word[1]]
    return None


def split_in_name(name: str) -> str | None:
    """The split that a file's name speaks of ("instances_val2017", "oidv6-train-annotations-bbox")."""
    words = (re.sub(r"\d+$", "", word) for word in re.split(r"[^a-z0-9]+", name.lower()))
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


class PictureFinder:
    """Finds the picture that a label names, though folders were renamed or pictures converted to another format."""

    def __init__(self, pictures: Iterable[Path]) -> None:
        self._pictures = set(pictures)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for picture in sorted(self._pictures):
            self._by_stem[picture.stem].append(picture)

    def find(self, name: str, near: Sequence[Path], split: str | None) -> Path | None:
        """The picture called `name` (a file name, or a path to be read from one of the folders `near`).

        Of several in other places the one is taken that agrees with `name` in the most folders, then in its suffix, then
        the one of `split`; None when they are still more than one.
        """
        name = name.replace("\\", "/")
        for folder in near:
            path = Path(os.path.normpath(folder / name))
            if path in self._pictures:
                return path
        wanted = Path(name)
        candidates = self._by_stem.get(wanted.name) or self._by_stem.get(wanted.stem) or []
        for score in (
            lambda path: _common_tail(path.parts[:-1], wanted.parts[:-1]),
            lambda path: path.suffix == wanted.suffix,
            lambda path: split_of(path) == split,
        ):
            best = max(map(score, candidates), default=None)
            candidates = [path for path in candidates if score(path) == best]
        return candidates[0] if len(candidates) == 1 else None


def _common_tail(first: Sequence[str], second: Sequence[str]) -> int:
    length = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        length += 1
    return length


def picture_size(picture: Path) -> tuple[int, int] | None:
    """(width, height) as people see the picture; None when it cannot be read."""
    try:
        return upright_size(picture)
    except DatasetError:
        return None


def on_stored_pixels(boxes: list[Box], picture: Path, labelled_size: tuple[int, int] | None) -> list[Box]:
    """Boxes drawn on the picture as people see it, moved to where the same objects are in the stored pixels.

    Annotation tools show pictures the way their EXIF orientation says. Where the labels state a size that the upright
    picture does not have, they were made on the stored pixels already.
    """
    size = picture_size(picture)
    if size is None or (labelled_size is not None and labelled_size != size):
        return boxes
    mirror, turns = upright_turns(exif_orientation(picture), 0.0)
    stored = [box.rotated(-turns) for box in boxes]
    return [box.mirrored() for box in stored] if mirror else stored
