"""Labels beside pictures, in the layouts people have them in; what every format has in common.

Each format's module offers `EXPECTED` (what it looks for, in words), `find` (what it found for a folder, its `files` among
it, or None) and `read` (the boxes of each picture). Layouts found in the wild differ from their descriptions in many small
ways: an unusable label costs itself alone, and is counted.
"""

import codecs
import dataclasses
import errno
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from balle_li.boxes import Box, upright_turns
from balle_li.errors import DatasetError
from balle_li.files import printable
from balle_li.image_io import exif_orientation, upright_size

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
CLIPPED = 1e-4
"""Fraction of the picture by which a corner lies outside when a box is clipped; less is a rounding of the labels."""
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
LONE_HIGH_BYTE = re.compile(
    rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])"
)  # a letter of Latin-1; Chinese ones have two


@dataclasses.dataclass(frozen=True)
class Found:
    """Label files that a format recognizes."""

    files: list[Path]
    complete: bool  # the label files lie in the folder itself, so they should be about no other pictures


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
    unused: list[str] = dataclasses.field(default_factory=list)  # other formats, or files that may be labels, not read

    @property
    def boxes(self) -> int:
        """How many boxes there are, on all pictures."""
        return sum(len(labels.boxes) for labels in self.by_picture.values())

    def of(self, picture: Path) -> PictureLabels:
        """The labels of a picture, which from now on is one that the labels speak of."""
        return self.by_picture.setdefault(picture, PictureLabels())

    def add_problem(self, labels: str | os.PathLike[str], reason: str) -> None:
        """Count a label that cannot be used; `labels` is its file or its picture."""
        self.problems.append({"labels": printable(labels), "reason": " ".join(reason.split())})

    def make_box(
        self, where: Path, label: str, corners: Sequence[float], is_crowd: bool = False, **flags: bool
    ) -> Box | None:
        """A box at xmin, ymin, xmax, ymax, fractions of the picture; None, and a problem of `where`, if it has no area."""
        xmin, ymin, xmax, ymax = corners
        flags["is_group_of"] = flags.get("is_group_of", False) or is_crowd
        box = Box.clipped(xmin, ymin, xmax, ymax, label, **flags)
        self.crowd_boxes += is_crowd
        if box is None:
            self.add_problem(where, f"the box {label!r} at {list(corners)} has no area in the picture")
        else:
            self.clipped_boxes += min(corners) < -CLIPPED or max(corners) > 1 + CLIPPED
        return box

    def add_boxes(self, picture: Path, boxes: Iterable[Box | None]) -> None:
        """Give a picture boxes, each once though two label files should have it."""
        own = self.of(picture)
        own.boxes = list(dict.fromkeys([*own.boxes, *(box for box in boxes if box is not None)]))


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


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises DatasetError, which names the file, in place of an error of the system while it is read."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{printable(path)} cannot be read ({error.strerror}); make it readable or move it away"
        ) from error


def readable(paths: Iterable[Path]) -> list[Path]:
    """Those files that can be read, sorted: what lies above the user's folder may be of others and not about it."""

    def opens(path: Path) -> bool:
        try:
            if not path.is_file():  # opening a pipe would wait
                return False
            with open(path, "rb") as file:
                file.read(1)
            return True
        except OSError:
            return False

    return sorted(filter(opens, paths))


def read_text(path: Path, encoding: str | None = None) -> str:
    """A label file's text: as its byte order mark says, in `encoding`, or in the first of the usual ones that it fits.

    Raises DatasetError: it cannot be read.
    """
    with reading(path):
        data = path.read_bytes()
    if not encoding and data[1:2] == b"\0" != data[:1]:
        encoding = "utf-16-le"  # without the mark
    for bom, marked in BOMS.items():
        if data.startswith(bom):
            return data.decode(marked, errors="replace")
    for name in (encoding or "utf-8", "utf-8", "latin-1" if LONE_HIGH_BYTE.search(data) else "gb18030"):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("latin-1")


def number(value: Any) -> float | None:
    """A number as labels have it, 40, "40.5" or "40px"; None if it is none, or not finite."""
    if isinstance(value, str):
        match = re.match(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value)
        value = float(match[0]) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) == float("inf") or value != value:
        return None
    return float(value)


def same(name: str) -> str:
    """A name in the form in which names that differ in case or in Unicode's composition are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Paths:
    """Files by their paths, though the letters' case or Unicode's composition may differ."""

    def __init__(self) -> None:
        self._children: dict[Path, dict[str, Path]] = {}

    def find(self, path: Path) -> Path | None:
        """The file or folder at `path`, or else at one that is the same but for case and composition.

        Raises DatasetError: it lies in a folder that may not be entered.
        """
        try:
            exists = path.exists()
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # of the picture's name with .txt behind it
                raise DatasetError(
                    f"{printable(path.parent)} may hold labels, but cannot be read ({error.strerror}); make it "
                    "readable, or set dataset.directory.labels to none"
                ) from error
            exists = False
        if exists or path == path.parent:
            return path if exists else None
        parent = self.find(path.parent)
        if parent is None:
            return None
        if parent not in self._children:
            try:
                self._children[parent] = {same(child.name): child for child in sorted(parent.iterdir(), reverse=True)}
            except OSError:  # no folder, or not ours to read
                self._children[parent] = {}
        return self._children[parent].get(same(path.name))


def found_near(here: list[Path], root: Path, name: str, files_in: Callable[[Path], list[Path]]) -> Found | None:
    """A format's label files `here`, under `root`; without any, those of a folder `name` beside it or one folder above.

    files_in: the format's label files in a folder, which need not be there.
    """
    if here:
        return Found(here, complete=True)
    for base in list(root.parents)[:2]:
        above = files_in(Paths().find(base / name) or base / name)
        if above:
            return Found(above, complete=False)
    return None


class PictureFinder:
    """Finds the picture that a label names, though folders were renamed or pictures converted to another format."""

    def __init__(self, pictures: Iterable[Path]) -> None:
        self._pictures = sorted(set(pictures))
        self._by_path = {same(str(picture)): picture for picture in reversed(self._pictures)}
        self._by_path |= {str(picture): picture for picture in self._pictures}
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for picture in self._pictures:
            self._by_stem[same(picture.stem)].append(picture)

    def find(self, name: str, near: Sequence[Path], split: str | None) -> Path | None:
        """The picture called `name` (a file name, a URL, or a path to be read from one of the folders `near`).

        Of several in other places the one is taken that agrees with `name` in the most folders, then in its own name,
        then in its suffix, then the one of `split`; None when they are still more than one.
        """
        name = name.strip().replace("\\", "/")
        if "://" in name:
            name = urlsplit(name).path.lstrip("/")
        for text in dict.fromkeys((name, unquote(name))):
            picture = self._find(text, near, split)
            if picture is not None:
                return picture
        return None

    def _find(self, name: str, near: Sequence[Path], split: str | None) -> Path | None:
        paths = [os.path.normpath(folder / name) for folder in near]
        for path in (*paths, *map(same, paths)):
            if path in self._by_path:
                return self._by_path[path]
        wanted = Path(name)
        candidates = self._by_stem.get(same(wanted.name)) or self._by_stem.get(same(wanted.stem)) or []
        for score in (
            lambda path: _common_tail(path.parts[:-1], wanted.parts[:-1]),
            lambda path: path.name == wanted.name,
            lambda path: same(path.suffix) == same(wanted.suffix),
            lambda path: split_of(path) == split,
        ):
            best = max(map(score, candidates), default=None)
            candidates = [path for path in candidates if score(path) == best]
        return candidates[0] if len(candidates) == 1 else None


def _common_tail(first: Sequence[str], second: Sequence[str]) -> int:
    length = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if same(one) != same(other):
            break
        length += 1
    return length


def picture_size(picture: Path) -> tuple[int, int] | None:
    """(width, height) as people see the picture; None when it cannot be read."""
    try:
        return upright_size(picture)
    except DatasetError:
        return None


def stated_size(width: Any, height: Any) -> tuple[float, float] | None:
    """(width, height) in pixels, of what labels have for them; None unless both are numbers above 0."""
    across, down = number(width), number(height)
    return (across, down) if across and down and min(across, down) > 0 else None


def on_stored_pixels(
    boxes: Iterable[Box | None], picture: Path, labelled_size: tuple[float, float] | None
) -> list[Box]:
    """Boxes drawn on the picture as people see it, moved to where the same objects are in the stored pixels.

    Annotation tools show pictures the way their EXIF orientation says. Where the labels state a size that has the
    proportions of the stored picture and not of the upright one, they were made on the stored pixels already.
    """
    known = [box for box in boxes if box is not None]
    size = picture_size(picture) if known else None
    if size is None:
        return known
    mirror, turns = upright_turns(exif_orientation(picture), 0.0)
    if turns % 2 and labelled_size and _is_scaled(labelled_size, size[::-1]) and not _is_scaled(labelled_size, size):
        return known
    stored = [box.rotated(-turns) for box in known]
    return [box.mirrored() for box in stored] if mirror else stored


def _is_scaled(size: tuple[float, float], of: tuple[int, int]) -> bool:
    """Whether `size` has the proportions of `of`, but for a pixel that rounding adds or takes."""
    return abs(size[0] * of[1] - size[1] * of[0]) <= max(of)
