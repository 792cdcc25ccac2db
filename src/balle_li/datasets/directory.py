"""The user's own folders of pictures, with labels in one of the usual formats or without."""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from balle_li.datasets.label_formats import read_labels
from balle_li.datasets.label_formats.labels import Labels, PictureLabels, split_of
from balle_li.datasets.raw_folder import copy_picture, write_origins, write_tables
from balle_li.datasets.sources import DirectoryConfig
from balle_li.errors import DatasetError
from balle_li.files import project_home
from balle_li.progress import progress

# fmt: off
SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
})
# fmt: on
NOT_PHOTOGRAPHS = frozenset(
    {"__MACOSX", "SegmentationClass", "SegmentationObject"}
)  # folders; the last two: VOC's masks
LONGEST_ID = 150  # characters; file systems allow names of 255 bytes
NAMED_IN_REPORT = 100

log = logging.getLogger(__name__)


def download(config: DirectoryConfig, max_missing: float, folder: Path) -> None:
    """Copy the pictures of the user's folders to `folder/images` and write the tables beside them; see `sources.download`.

    Pictures are not looked into: what cannot be decoded is curate's to drop and to name, by the user's own path, which
    origins.json keeps. Labels that cannot be used, or point to no picture, are listed in report.json.

    Raises DatasetError: a folder is missing or empty, labels that were asked for are not there or are damaged, or
    pictures that labels name are missing, more than the share `max_missing` of all.
    """
    records: list[dict[str, Any]] = []
    missing: list[dict[str, str]] = []
    reports = []
    origins: dict[str, str] = {}
    labelled = 0
    taken: set[Path] = set()
    ids: set[str] = set()
    for text in config.paths:
        root = (project_home() / Path(text).expanduser()).resolve()
        files = _list_files(root, text, skip=folder.resolve())
        pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not pictures:
            raise DatasetError(f"dataset.directory.paths: {text} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        labels = read_labels(config.labels, root, files, pictures)
        pictures = [picture for picture in pictures if picture not in taken]
        taken.update(pictures)
        copied = _copy(pictures, root, labels, ids, folder)
        records += copied
        names = (os.path.join(text, picture.relative_to(root)) for picture in pictures)
        origins |= dict(zip((record["path"] for record in copied), names, strict=True))
        reports.append(_report(text, labels, pictures))
        if labels.must_have_pictures:
            labelled += sum(picture in labels.by_picture for picture in pictures)
            missing += [
                {"picture": name, "reason": f"the {labels.kind} labels of {text} name it, but it is not there"}
                for name in labels.without_picture
            ]
    if missing:
        _check_missing(len(missing), labelled, max_missing, missing)
    paths = ", ".join(config.paths)
    preface = f"Pictures from {paths}. Authors and licences are those that the labels state."
    write_origins(folder, origins)
    write_tables(folder, records, preface, {"source": "directory", "folders": reports}, missing)


def _list_files(root: Path, text: str, skip: Path) -> list[Path]:
    """All files under `root`, sorted; without hidden ones and without the folder that the pictures go to."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"dataset.directory.paths: {text} {what} (looked for it at {root})")

    def refuse(error: OSError) -> None:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error

    found = []
    visited = set()
    for here, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(here)
        if real in visited or Path(real) == skip:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_PHOTOGRAPHS]
        found += [Path(here, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _copy(pictures: list[Path], root: Path, labels: Labels, ids: set[str], folder: Path) -> list[dict[str, Any]]:
    records = []
    with progress(f"Copying {root.name}", len(pictures), "pictures") as advance:
        for picture in pictures:
            relative = picture.relative_to(root)
            image_id = _image_id(relative, ids)
            ids.add(image_id)
            path = f"images/{image_id}{picture.suffix.lower()}"
            copy_picture(picture, folder / path)
            known = labels.by_picture.get(picture, PictureLabels())
            records.append(
                {
                    "image_id": image_id,
                    "path": path,
                    "source_url": known.source_url,
                    "licence": known.licence,
                    "author": known.author,
                    "title": known.title,
                    "rotation": known.rotation,
                    "source_split": split_of(Path(root.name) / relative.parent),
                    "boxes": known.boxes,
                }
            )
            advance(1)
    return records


def _image_id(relative: Path, taken: set[str]) -> str:
    """The relative path without its suffix, in letters that every file system and URL allows; unlike any in `taken`.

    Ids decide the split a picture falls into, so a folder that is added at the end changes no earlier one.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", relative.with_suffix("").as_posix().replace("/", "__"))
    if len(plain) > LONGEST_ID:
        plain = f"{plain[:LONGEST_ID]}-{hashlib.sha256(relative.as_posix().encode()).hexdigest()[:8]}"
    unique, number = plain, 2
    while unique in taken:
        unique, number = f"{plain}-{number}", number + 1
    return unique


def _report(text: str, labels: Labels, pictures: list[Path]) -> dict[str, Any]:
    absent, problems = labels.without_picture, labels.problems
    if absent:
        log.warning("%s: %d labelled pictures are not there, for one: %s", text, len(absent), absent[0])
    if problems:
        first = problems[0]
        log.warning(
            "%s: %d labels cannot be used, for one: %s: %s", text, len(problems), first["labels"], first["reason"]
        )
    counts = {
        "boxes_clipped": labels.clipped_boxes,
        "crowd_boxes": labels.crowd_boxes,
        "annotations_of_unknown_pictures": labels.unknown_pictures,
    }
    told = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    if told:
        log.warning("%s: %s (report.json counts them)", text, ", ".join(told))
    return {
        "path": text,
        "labels": labels.kind,
        "pictures": len(pictures),
        "labels_without_picture": len(absent),
        "labels_without_picture_first": absent[:NAMED_IN_REPORT],
        "label_problems": problems,
        **counts,
    }


def _check_missing(missing: int, present: int, max_missing: float, names: list[dict[str, str]]) -> None:
    """`present`: the labelled pictures that are there."""
    share = missing / (missing + present)
    if share > max_missing:
        raise DatasetError(
            f"{missing} of {missing + present} labelled pictures ({share:.1%}) are not in the folders, {names[0]['picture']} "
            "for one; add them, or raise dataset.max_missing"
        )
