"""YOLO: one text file for each picture, class number and box a line, in labels/ or beside it, and a list of class names."""

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from balle_li.boxes import Box
from balle_li.datasets.label_formats.labels import Labels, on_stored_pixels
from balle_li.datasets.label_formats.staging import import_boxes, key_of, link_pictures
from balle_li.errors import DatasetError

EXPECTED = (
    "text files with `class x y width height` lines in labels/ or beside the pictures, and class names in data.yaml, "
    "dataset.yaml, classes.txt or obj.names"
)
NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels.names", "predefined_classes.txt")


@dataclasses.dataclass(frozen=True)
class Found:
    labels: dict[Path, Path]  # label file by picture
    without_picture: list[Path]
    names: list[str] | None
    complete: bool  # the list of names lies in the folder itself


def find(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Found | None:
    """The label files of `pictures`, and class names from `root` or up to three folders above it."""
    label_files = {picture: path for picture in pictures if (path := _label_file(root, picture)) is not None}
    if not any(map(_has_rows, label_files.values())):
        return None
    names, complete = _names(sorted(files, key=lambda path: (len(path.parts), path))), True
    if names is None:
        for base in list(root.parents)[:3]:
            names = _names(
                sorted(path for folder in (base, base / "labels") for path in folder.glob("*") if path.is_file())
            )
            if names is not None:
                complete = False
                break
    used = set(label_files.values())
    # A labels/ that is shared by the folders of several splits is about more pictures than one of these holds.
    own = {
        path.parent for picture, path in label_files.items() if complete or path in (_beside(picture), _mirror(picture))
    }
    others = (path for folder in sorted(own) for path in sorted(folder.glob("*.txt")))
    left = [path for path in others if path not in used and _has_rows(path)]
    return Found(label_files, left, names, complete)


def _label_file(root: Path, picture: Path) -> Path | None:
    name = f"{picture.stem}.txt"
    mirror = _mirror(picture)
    places = [mirror, _beside(picture), picture.parent.parent / "labels" / name, root / "labels" / name]
    places += [folder / "labels" / name for folder in picture.parents if (folder / "images") in picture.parents]
    return next((path for path in places if path is not None and path.is_file()), None)


def _beside(picture: Path) -> Path:
    return picture.with_suffix(".txt")


def _mirror(picture: Path) -> Path | None:
    """The label file's place by YOLO's own rule: the last folder called images becomes labels."""
    parts = list(picture.parent.parts)
    if "images" not in parts:
        return None
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, f"{picture.stem}.txt")


def _has_rows(path: Path) -> bool:
    """Whether the first line is a class number and at least four coordinates."""
    if path.name in NAME_LISTS:
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        words = next((line.split() for line in file if line.strip()), [])
    try:
        return len(words) >= 5 and int(words[0]) >= 0 and all(-1 <= float(word) <= 2 for word in words[1:])
    except ValueError:
        return False


def _names(paths: Iterable[Path]) -> list[str] | None:
    """The first list of class names among files."""
    import yaml

    for path in paths:
        if path.name in NAME_LISTS or path.suffix == ".names":
            return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
            except (yaml.YAMLError, UnicodeDecodeError):
                continue
            names = _listed(document.get("names")) if isinstance(document, dict) else None
            if names:
                return names
    return None


def _listed(names: Any) -> list[str] | None:
    """Ultralytics writes names as a list or as a mapping from numbers."""
    if isinstance(names, list):
        return [str(name) for name in names]
    try:
        numbered = {int(number): str(name) for number, name in names.items()}
    except (AttributeError, ValueError, TypeError):
        return None
    return [numbered.get(number, str(number)) for number in range(max(numbered, default=-1) + 1)]


def read(found: Found, pictures: Sequence[Path]) -> Labels:
    """The boxes of `pictures`; outlines become the boxes around them. Raises DatasetError: there are no class names."""
    if found.names is None:
        label_file = next(iter(found.labels.values()))
        raise DatasetError(
            f"{label_file.parent}: YOLO labels without class names; put a classes.txt, one name a line, beside the pictures, "
            "or set dataset.directory.labels to none"
        )
    labels = Labels("yolo", without_picture=[str(path) for path in found.without_picture])
    labelled = list(found.labels)
    names = set(found.names)

    def finish(picture: Path, boxes: list[Box]) -> list[Box]:
        known = [box for box in boxes if box.label in names]
        for box in boxes:
            if box.label not in names:
                labels.add_problem(found.labels[picture], f"there is no class {box.label} among {len(names)} names")
        return on_stored_pixels(known, picture, None)

    with tempfile.TemporaryDirectory(prefix="balle-li-labels-") as folder:
        data = Path(folder) / "data"
        link_pictures(data, labelled)
        for number, picture in enumerate(labelled):
            (data / f"{key_of(number)}.txt").symlink_to(found.labels[picture])
        listing = "\n".join(f"data/{key_of(i)}{picture.suffix.lower()}" for i, picture in enumerate(labelled))
        (Path(folder) / "images.txt").write_text(listing, encoding="utf-8")
        options = {"dataset_dir": folder, "classes": found.names}
        import_boxes("fiftyone.utils.yolo", "YOLOv4DatasetImporter", options, labelled, labels, finish)
    return labels
