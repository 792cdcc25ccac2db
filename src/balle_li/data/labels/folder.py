"""The labels of a folder of pictures: which format they are in, and which files hold them, in the folder and around it."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from balle_li.data.labels import Labels, coco, open_images, reading, same, voc, yolo
from balle_li.errors import DatasetError
from balle_li.files import files_below, printable

FORMATS: dict[str, ModuleType] = {"open-images": open_images, "coco": coco, "voc": voc, "yolo": yolo}
# fmt: off
SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
})
# fmt: on
LABEL_SUFFIXES = frozenset({".csv", ".json", ".txt", ".xml"})
NOT_PHOTOGRAPHS = frozenset({"__MACOSX", "SegmentationClass", "SegmentationObject"})
"""Folders that are not entered; the last two hold VOC's masks."""


def pictures_among(files: Sequence[Path]) -> list[Path]:
    """Those files that have a picture's suffix, in their order."""
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def files_under(root: Path, text: str, skip: Path | None = None) -> list[Path]:
    """All files under `root`, sorted; without hidden ones and without the folder `skip`.

    text: the folder as the user wrote it. Raises DatasetError: it, or what is in it, cannot be read.
    """
    with reading(root):
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise DatasetError(f"dataset.directory.paths: {text} {what} (looked for it at {root})")

    def refuse(error: OSError) -> None:
        with reading(Path(error.filename)):
            raise error

    def is_file(path: Path) -> bool:
        with reading(path):
            return path.is_file()

    def enters(name: str) -> bool:
        return not name.startswith(".") and name not in NOT_PHOTOGRAPHS

    found = files_below(root, enters, refuse, skip)
    return sorted(path for path in found if not path.name.startswith(".") and is_file(path))


def read_labels(kind: str, root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Labels:
    """The labels of `pictures`, which lie with other `files` under `root`; empty for "none", or "auto" without labels.

    Label files are looked for under `root` and, when there are none, a few folders above it, so that one split's
    folder of pictures finds its labels. Raises DatasetError: labels of `kind` are not there, are damaged, are about
    other pictures, or yield no box at all.
    """
    if kind == "none":
        return Labels("none")
    others = _formats(kind)
    while others:
        name = next(iter(others))
        module = others.pop(name)
        found = module.find(root, files, pictures)
        if found is None:
            if kind != "auto":
                raise DatasetError(f"{root}: no labels of the kind {kind!r}; expected are {module.EXPECTED}")
            continue
        labels: Labels = module.read(found, pictures)
        if labels.boxes:
            labels.unused = [
                f"{other} labels" for other in others if _lie_in(FORMATS[other].find(root, files, pictures))
            ]
            return labels
        if kind != "auto" or found.complete or labels.by_picture:
            raise DatasetError(_why_no_box(root, name, labels))
    stems = {same(name) for picture in pictures for name in (picture.stem, picture.name)}
    candidates = (path for path in files if path.suffix.lower() in LABEL_SUFFIXES)
    maybe = [path for path in candidates if path.suffix.lower() != ".txt" or same(path.stem) in stems]
    return Labels("none", unused=[printable(path.relative_to(root)) for path in maybe])


def label_files(kind: str, root: Path) -> list[Path]:
    """The files that `read_labels` may read for the pictures under `root`, wherever they lie.

    Raises DatasetError: the folder, or a file that may be one of them, cannot be read.
    """
    if kind == "none":
        return []
    files = files_under(root, str(root))
    pictures = pictures_among(files)
    found = [module.find(root, files, pictures) for module in _formats(kind).values()]
    return sorted({path for labels in found if labels is not None for path in labels.files})


def _formats(kind: str) -> dict[str, ModuleType]:
    """The formats that `kind` stands for, by name, in the order in which they are tried."""
    return dict(FORMATS) if kind == "auto" else {kind: FORMATS[kind]}


def _lie_in(found: Any) -> bool:
    """Whether a format's labels were found in the folder itself."""
    return found is not None and found.complete


def _why_no_box(root: Path, name: str, labels: Labels) -> str:
    if labels.by_picture:
        first = f" ({labels.problems[0]['labels']}: {labels.problems[0]['reason']})" if labels.problems else ""
        why = f"its {name} labels yield no box{first}; correct them"
    else:
        first = f" (they name {labels.without_picture[0]!r}, for one)" if labels.without_picture else ""
        why = f"its {name} labels are about none of its pictures{first}; correct dataset.directory.paths"
    return f"{root}: {why}, or set dataset.directory.labels to none"
