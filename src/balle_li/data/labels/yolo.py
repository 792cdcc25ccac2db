"""YOLO: one text file for each picture, class number and box a line, in labels/ or beside it, and a list of class names."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from balle_li.boxes import Box
from balle_li.data.labels import Labels, Paths, on_stored_pixels, read_text, readable, same
from balle_li.errors import DatasetError
from balle_li.files import printable

EXPECTED = (
    "text files with `class x y width height` lines in labels/ or beside the pictures, and class names in data.yaml, "
    "dataset.yaml, classes.txt or obj.names"
)
NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels.names", "predefined_classes.txt")
IMAGE_FOLDERS = ("images", "jpegimages")
POSE_COLUMNS = (13, 56, 77)  # Ultralytics' pose sets: 4 points, COCO's 17 and the dogs' 24 with visibility
OUTSIDE = 0.1  # a box of a pose sticks out of its picture by no more than this
LARGEST = 2.0  # a coordinate beyond this is a number of pixels, not a fraction of the picture

Row = list[float]


@dataclasses.dataclass(frozen=True)
class Names:
    """Class names by number, the file that lists them, and how many key points with how many values poses have, if any."""

    file: Path
    classes: dict[int, str]
    kpt_shape: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    labels: dict[Path, Path]  # label file by picture
    without_picture: list[Path]
    names: dict[Path, Names]  # by the folder that their list lies in; of several data sets each has its own
    complete: bool  # the lists of names lie in the folder itself

    @property
    def files(self) -> list[Path]:
        """All that is read, lists of class names among it."""
        return [*self.labels.values(), *(names.file for names in self.names.values())]


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """The label files of `pictures`, and class names from `root` or up to three folders above it.

    Text beside pictures may be about anything: it is taken for YOLO's where a file has rows of numbers, or where class
    names lie in `root` as well.
    """
    paths = Paths()
    folders = {folder: _label_folders(root, folder, paths) for folder in {picture.parent for picture in pictures}}
    looked_up = {picture: _label_file(picture, folders[picture.parent], paths) for picture in pictures}
    label_files = {picture: path for picture, path in looked_up.items() if path is not None}
    names, complete = _names(sorted(files, key=lambda path: (len(path.parts), path))), True
    for base in list(root.parents)[:3] if not names else []:
        around = (path for folder in (base, base / "labels") for path in folder.glob("*") if _may_name_classes(path))
        names, complete = _names(readable(around)), False
        if names:
            break
    if names and complete:
        if not label_files and not any(_has_rows(path) for path in files if same(path.suffix) == ".txt"):
            return None
    elif not any(map(_has_rows, label_files.values())):
        return None
    used = set(label_files.values())
    # A labels/ that is shared by the folders of several splits is about more pictures than one of these holds.
    own = {
        path.parent
        for picture, path in label_files.items()
        if complete or path.parent in (picture.parent, paths.find(_mirror(picture.parent)))
    }
    others = (path for folder in sorted(own) for path in sorted(folder.glob("*.txt")) if path.is_file())
    if not label_files:
        others = (path for path in files if same(path.suffix) == ".txt")
    without_picture = [path for path in others if path not in used and _has_rows(path)]
    return Found(label_files, without_picture, names, complete)


def _label_folders(root: Path, folder: Path, paths: Paths) -> list[Path]:
    """Where the label files of a folder's pictures may lie, of the folders that are there; the likeliest comes first."""
    places = [_mirror(folder), folder, folder.parent / "labels", root / "labels"]
    places += [above.parent / "labels" for above in (folder, *folder.parents) if same(above.name) in IMAGE_FOLDERS]
    found = map(paths.find, places)
    return list(dict.fromkeys(place for place in found if place is not None))


def _label_file(picture: Path, folders: Sequence[Path], paths: Paths) -> Path | None:
    found = (paths.find(folder / f"{name}.txt") for name in (picture.stem, picture.name) for folder in folders)
    return next((path for path in found if path is not None and path.is_file()), None)


def _mirror(folder: Path) -> Path:
    """Where YOLO's own rule has the labels of a folder's pictures: the last folder called images becomes labels."""
    parts = list(folder.parts)
    for place in reversed(range(len(parts))):
        if same(parts[place]) in IMAGE_FOLDERS:
            parts[place] = "labels"
            break
    return Path(*parts)


def _is_name_list(path: Path) -> bool:
    return same(path.name) in NAME_LISTS or same(path.suffix) == ".names"


def _may_name_classes(path: Path) -> bool:
    return _is_name_list(path) or same(path.suffix) in (".yaml", ".yml")


def _has_rows(path: Path) -> bool:
    """Whether the first line is a class number and at least four more numbers."""
    if _is_name_list(path):
        return False
    words = next((_words(line) for line in read_text(path).splitlines() if line.strip()), [])
    return len(words) >= 5 and None not in map(_number, words)


def _words(line: str) -> list[str]:
    if re.search(r"\d,\d+\s+\d*,\d", line):
        line = line.replace(",", ".")  # decimal commas
    return re.split(r"[\s,;]+", line.strip(" \t\r\n,;\ufeff\0"))


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _names(paths: Iterable[Path]) -> dict[Path, Names]:
    """The lists of class names among files, by their folders; of several in one folder the first."""
    import yaml

    found: dict[Path, Names] = {}
    for path in filter(_may_name_classes, paths):
        if _is_name_list(path):
            lines = (line.strip() for line in read_text(path).splitlines())
            names = Names(path, dict(enumerate(line for line in lines if line)))
        else:
            try:
                document = yaml.safe_load(read_text(path))
            except (yaml.YAMLError, ValueError):  # the second: a date that is none
                continue
            names = Names(path, (_listed(document.get("names")) if isinstance(document, dict) else None) or {})
            match document.get("kpt_shape") if names.classes else None:
                case [int(points), int(values)]:
                    names = Names(path, names.classes, (points, values))
        if names.classes:  # an empty list hides no other
            found.setdefault(path.parent, names)
    return found


def _nearest(folder: Path, names: Mapping[Path, Names]) -> Path:
    """Where the class names of a folder's label files lie: in it or nearest above it, else nearest beside the way up."""
    ways = (folder, *folder.parents)
    above = next((place for place in ways if place in names), None)
    return above or max(names, key=lambda place: len(set(place.parents) & set(ways)))


def _listed(names: Any) -> dict[int, str] | None:
    """Ultralytics writes names as a list or as a mapping from numbers."""
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    try:
        return {int(number): str(name) for number, name in names.items()}
    except (AttributeError, ValueError, TypeError):
        return None


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures`; outlines become the boxes around them. Raises DatasetError: there are no class names."""
    if not found.names:
        label_file = next(iter(found.labels.values()))
        raise DatasetError(
            f"{label_file.parent}: YOLO labels without class names; put a classes.txt, one name a line, beside the pictures, "
            "or set dataset.directory.labels to none"
        )
    labels = Labels("yolo", without_picture=list(map(printable, found.without_picture)))
    sets: dict[Path, list[Path]] = defaultdict(list)
    for picture, path in found.labels.items():
        sets[_nearest(path.parent, found.names)].append(picture)
    for place, members in sets.items():
        _read_set({picture: found.labels[picture] for picture in members}, found.names[place], labels)
    return labels


def _read_set(label_files: Mapping[Path, Path], names: Names, labels: Labels) -> None:
    """Read the label files, by picture, that share a list of class names."""
    rows = {picture: _rows(path, names, labels) for picture, path in label_files.items()}
    several = [row for group in rows.values() for _, row in group if len(row) > 5]
    poses, tracked = _are_poses(several), all(len(row) == 6 and _is_track(row[-1]) for row in several)
    for picture, group in rows.items():
        boxes = [_box(label_files[picture], name, row, names, poses, tracked, labels) for name, row in group]
        labels.add_boxes(picture, on_stored_pixels(boxes, picture, None))


def _rows(path: Path, names: Names, labels: Labels) -> list[tuple[str, Row]]:
    """Class name and numbers of every line that has both; the others are problems."""
    by_name = {name: name for name in names.classes.values()}
    rows = []
    for line in read_text(path).splitlines():
        words = _words(line)
        if words == [""] or line.lstrip().startswith("#"):
            continue
        numbers = [_number(word) for word in words[1:]]
        row = [value for value in numbers if value is not None]
        class_number = _number(words[0])
        known = class_number is not None and class_number.is_integer()
        name = names.classes.get(int(class_number or 0)) if known else by_name.get(words[0])
        if len(row) != len(numbers) or len(row) < 4:
            labels.add_problem(path, f"{line.strip()[:80]!r} is no class number with x, y, width and height")
        elif name is None:
            labels.add_problem(path, f"there is no class {words[0]} among {len(names.classes)} names")
        elif max(map(abs, row[:4])) > LARGEST:
            labels.add_problem(path, f"{line.strip()[:80]!r} is not in fractions of the picture, from 0 to 1")
        else:
            rows.append((name, row))
    return rows


def _box(path: Path, name: str, row: Row, names: Names, poses: bool, tracked: bool, labels: Labels) -> Box | None:
    outline = _outline(row, names, poses, tracked)
    if outline is not None:
        xs, ys = outline[::2], outline[1::2]
        return labels.make_box(path, name, (min(xs), min(ys), max(xs), max(ys)))
    return labels.make_box(path, name, _corners(row))


def _corners(row: Row) -> tuple[float, float, float, float]:
    x, y, width, height = row[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _are_poses(rows: Sequence[Row]) -> bool:
    """Whether rows of one folder look like poses: all of the length of a known pose, or each point with a visibility."""
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        return False
    (length,) = lengths
    if (length - 4) % 3:
        return 1 + length in POSE_COLUMNS
    visible = all(value in (0, 1, 2) for row in rows for value in row[6::3])
    return visible or 1 + length in POSE_COLUMNS or (length % 2 == 1 and all(map(_holds_its_points, rows)))


def _holds_its_points(row: Row) -> bool:
    """Whether the points of a pose, each with how sure a model is of it, lie in the box before them."""
    xmin, ymin, xmax, ymax = _corners(row)
    points = zip(row[4::3], row[5::3], strict=True)
    return all(xmin <= x <= xmax and ymin <= y <= ymax for x, y in points)


def _is_track(value: float) -> bool:
    return value >= 1 and value.is_integer()


def _outline(row: Row, names: Names, poses: bool, tracked: bool) -> Row | None:
    """The points of a row that is an outline; None where the first four numbers are a box, whatever follows them.

    An outline has an even number of values, which a pose may have as well: the names' file says so, or else `poses`.
    Ultralytics' predictions have a confidence, the number of a track or both behind either, and behind a box.

    tracked: every row of more than five numbers may be a box with both; else an outline may end at the edge, in a 1.
    """
    if len(row) < 6 or (len(row) == 6 and _is_track(row[-1]) and (tracked or row[-1] > 1)):
        return None
    if names.kpt_shape is not None:
        if len(row) % 2 or len(row) - 4 - names.kpt_shape[0] * names.kpt_shape[1] in (0, 1, 2):
            return None
    elif poses and (len(row) % 2 or all(-OUTSIDE <= corner <= 1 + OUTSIDE for corner in _corners(row))):
        return None
    elif len(row) % 2:
        return row[:-1]
    return row[:-2] if _is_track(row[-1]) and row[-1] > 1 else row
