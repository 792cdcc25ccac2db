"""The user's own folders of pictures, with labels in one of the usual formats or without."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balle_li.config import DirectoryConfig
from balle_li.data.labels import Labels, PictureLabels, split_of
from balle_li.data.labels.folder import SUFFIXES, files_under, pictures_among, read_labels
from balle_li.data.manifest import write_origins
from balle_li.data.sources import copy_picture, register_source, write_tables
from balle_li.errors import DatasetError
from balle_li.files import named_path, printable, sha256_file
from balle_li.progress import progress

LONGEST_NAME = 120  # characters of an id beside its digits; file systems allow names of 255 bytes
ID_DIGITS = 12
NAMED_IN_REPORT = 100

log = logging.getLogger(__name__)


@register_source("directory")
class Directory(DirectoryConfig):
    """The pictures of the user's own folders."""

    def download(self, folder: Path, seed: int, max_missing: float) -> None:
        """Copy the pictures to `folder/images` and write the tables beside them; see `Source.download`.

        Pictures are not looked into: what cannot be decoded is curate's to drop and to name, by the user's own path,
        which origins.json keeps. Labels that cannot be used, or point to no picture, are counted and listed in
        report.json, and so are files that cannot be copied.

        Raises DatasetError: a folder is missing or empty, labels are damaged or yield no box at all, those that were
        asked for are not there, or more than the fraction `max_missing` of the labelled pictures is missing.
        """
        records: dict[str, dict[str, Any]] = {}
        missing: list[dict[str, str]] = []
        reports = []
        origins: dict[str, str] = {}
        present = 0
        taken: set[Path] = set()
        for text in self.paths:
            # Path.resolve raises RuntimeError where links lead in a circle.
            root = Path(os.path.realpath(named_path(text)))
            files = files_under(root, text, skip=folder)
            pictures = pictures_among(files)
            if not pictures:
                raise DatasetError(f"dataset.directory.paths: {text} holds no pictures ({', '.join(sorted(SUFFIXES))})")
            labels = read_labels(self.labels, root, files, pictures)
            absent = [
                {"picture": name, "reason": f"the {labels.kind} labels of {text} name it, but it is not there"}
                for name in (labels.without_picture if labels.must_have_pictures else ())
            ]
            pictures = [picture for picture in pictures if picture not in taken]
            taken.update(pictures)
            repeated = 0
            with progress(f"Copying {root.name}", len(pictures), "pictures") as advance:
                for picture in pictures:
                    own = printable(os.path.join(text, picture.relative_to(root)))
                    try:
                        record = _copy(picture, root, labels, folder)
                    except DatasetError as error:
                        absent.append({"picture": own, "reason": str(error)})
                    else:
                        known = records.get(record["image_id"])
                        repeated += known is not None
                        if known is None or len(record["boxes"]) > len(known["boxes"]):
                            records[record["image_id"]] = record
                            origins[record["path"]] = own
                    advance(1)
            present += len(pictures) if not labels.by_picture else sum(path in labels.by_picture for path in pictures)
            missing += absent
            reports.append(_report(text, labels, len(pictures), repeated))
        if missing:
            _check_missing(missing, present, max_missing)
        paths = ", ".join(self.paths)
        preface = f"Pictures from {paths}. Authors and licences are those that the labels state."
        write_origins(folder, origins)
        write_tables(folder, list(records.values()), preface, {"source": "directory", "folders": reports}, missing)


def _copy(picture: Path, root: Path, labels: Labels, folder: Path) -> dict[str, Any]:
    """Copy a picture; returns its row of the index. Raises DatasetError: it cannot be read."""
    relative = picture.relative_to(root)
    image_id = _image_id(picture, relative)
    path = f"images/{image_id}{picture.suffix.lower()}"
    copy_picture(picture, folder / path)
    known = labels.by_picture.get(picture, PictureLabels())
    return {
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


def _image_id(picture: Path, relative: Path) -> str:
    """The relative path, as far as every file system and URL allows its letters, and digits of the file's content.

    Ids decide the split a picture falls into. They come from the picture alone, so that no other that comes or goes
    changes one. Raises DatasetError: the picture cannot be read.
    """
    try:
        digits = sha256_file(picture)[:ID_DIGITS]
    except OSError as error:
        raise DatasetError(f"{printable(picture)} cannot be read: {error.strerror}") from error
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", relative.with_suffix("").as_posix().replace("/", "__"))
    return f"{name[:LONGEST_NAME].strip('_.') or 'picture'}-{digits}"


def _report(text: str, labels: Labels, pictures: int, repeated: int) -> dict[str, Any]:
    """What report.json says of a folder. What of its labels is not used is also said at once."""
    absent, problems, unused = labels.without_picture, labels.problems, labels.unused
    if absent:
        log.warning("%s: %d labelled pictures are not there, for one: %s", text, len(absent), absent[0])
    if problems:
        first = f"{problems[0]['labels']}: {problems[0]['reason']}"
        log.warning("%s: %d labels cannot be used, for one: %s", text, len(problems), first)
    if unused:
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        log.warning("%s: not read, though they may be labels: %s%s", text, ", ".join(unused[:3]), more)
    counts = {
        "boxes_clipped": labels.clipped_boxes,
        "crowd_boxes": labels.crowd_boxes,
        "annotations_of_unknown_pictures": labels.unknown_pictures,
        "pictures_taken_once_of_several_copies": repeated,
    }
    told = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    if told:
        log.warning("%s: %s (report.json counts them)", text, ", ".join(told))
    return {
        "path": text,
        "labels": labels.kind,
        "pictures": pictures,
        "labels_without_picture": len(absent),
        "labels_without_picture_first": absent[:NAMED_IN_REPORT],
        "label_problems": problems,
        "labels_not_used": unused[:NAMED_IN_REPORT],
        **counts,
    }


def _check_missing(missing: Sequence[dict[str, str]], present: int, max_missing: float) -> None:
    """`present`: the labelled pictures that are there, or all where there are no labels."""
    fraction = len(missing) / (len(missing) + present)
    if fraction > max_missing:
        first = missing[0]
        raise DatasetError(
            f"{len(missing)} of {len(missing) + present} labelled pictures ({fraction:.1%}) are not in the folders, "
            f"{first['picture']} for one ({first['reason']}); add them, or raise dataset.max_missing"
        )
