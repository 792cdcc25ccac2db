"""Open Images V7: a chosen, verified and labelled subset of its 1.9 million pictures with boxes.

What was fetched is kept in `<home>/.open-images`, outside the stage's own folder, which DVC empties before every run. So
a run that was interrupted, or another selection, fetches only what is not there yet.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from balle_li.boxes import Box
from balle_li.config import OpenImagesConfig
from balle_li.data.open_images import loader, metadata, pictures
from balle_li.data.open_images.metadata import MetadataFile
from balle_li.data.open_images.tables import Classes, Selection, Tables, picture_rows, read_classes, select
from balle_li.data.sources import copy_picture, register_source, write_tables
from balle_li.errors import DatasetError
from balle_li.files import project_home, write_json
from balle_li.progress import progress

PREFACE = (
    "Pictures of [Open Images V7](https://storage.googleapis.com/openimages/web/index.html), each by its author and under "
    "its own licence. The annotations are by Google LLC under [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)."
)
KEYS_IN_MESSAGE = 3


@register_source("open-images")
class OpenImages(OpenImagesConfig):
    """The pictures of Open Images V7 that the parameters and the seed choose."""

    def download(self, folder: Path, seed: int, max_missing: float) -> None:
        """Bring the chosen pictures to `folder`: images/, index.parquet, report.json, ATTRIBUTION.md.

        The same seed chooses the same pictures, whatever was fetched before. Unavailable pictures are left out and listed
        in the report; they are not replaced by others.

        Raises ConfigError: a class is unknown. Raises DatasetError: nothing fits the selection, the servers cannot be
        reached or serve damaged metadata, or more than the fraction `max_missing` of the chosen pictures is unavailable.
        """
        cache = project_home() / ".open-images"
        with _locked(cache):
            staged = _stage_metadata(self.splits, cache / "metadata")
            classes = read_classes(staged[metadata.CLASSES].path, staged[metadata.HIERARCHY].path)
            mids = classes.mids(self.classes, self.include_children) if self.classes else None
            tables: dict[str, Tables] = {
                split: Tables(staged[metadata.BOXES[split]].path, staged[metadata.PICTURES[split]].path)
                for split in self.splits
            }
            selection = select(tables, mids, self.licences, self.max_samples, seed)
            _check_selection(selection, self)
            failures = pictures.fetch(selection.keys(), cache / "pictures", self.workers)
            report = _report(self, seed, mids, classes, staged, selection, failures)
            _check_failures(failures, len(selection), max_missing, report, cache / "report.json")
            records, report["boxes_not_used"] = _records(selection, failures, tables, classes, cache)
            if report["boxes_not_used"]:
                _say(
                    f"{report['boxes_not_used']} boxes have no area in their picture or no class with a name: not used"
                )
            _write(folder, records, cache / "pictures", report)


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Hold the cache against other processes of the project."""
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say("another process is downloading Open Images for this project; waiting for it to finish")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _stage_metadata(splits: Sequence[str], folder: Path) -> dict[str, MetadataFile]:
    tables = [tables[split] for split in splits for tables in (metadata.BOXES, metadata.PICTURES)]
    return {path: metadata.stage(path, folder) for path in (metadata.CLASSES, metadata.HIERARCHY, *tables)}


def _check_selection(selection: Selection, config: OpenImagesConfig) -> None:
    if selection.found < config.max_samples:
        wanted = f"a box of {', '.join(config.classes)}" if config.classes else "a box"
        licence = f" and the licence {' or '.join(config.licences)}" if config.licences else ""
        what = f"in {', '.join(config.splits)} with {wanted}{licence}"
        if not selection.found:
            raise DatasetError(f"Open Images has no picture {what}; choose other splits, classes or licences")
        _say(
            f"Open Images has {selection.found} pictures {what}: taking all, fewer than max_samples={config.max_samples}"
        )


def _report(
    config: OpenImagesConfig,
    seed: int,
    mids: Sequence[str] | None,
    classes: Classes,
    staged: Mapping[str, MetadataFile],
    selection: Selection,
    failures: Mapping[str, str],
) -> dict[str, Any]:
    """Holds nothing of the machine, the time or the mirror: the same pictures give the same report."""
    return {
        "source": "open-images-v7",
        "seed": seed,
        "splits": list(config.splits),
        "classes": None if mids is None else sorted(classes.names[mid] for mid in mids),
        "licences": list(config.licences),
        "max_samples": config.max_samples,
        "available": selection.found,
        "chosen": {split: len(ids) for split, ids in selection.ids.items()},
        "fetched": len(selection) - len(failures),
        "missing": [{"picture": key, "reason": reason} for key, reason in failures.items()],
        "metadata": {path: {"bytes": file.bytes, "sha256": file.sha256} for path, file in sorted(staged.items())},
    }


def _check_failures(
    failures: Mapping[str, str], chosen: int, max_missing: float, report: dict[str, Any], path: Path
) -> None:
    """Raises DatasetError when too much is missing, the report left at `path`: the stage's own folder may vanish."""
    path.unlink(missing_ok=True)
    if not failures:
        return
    first = ", ".join(f"{key} ({reason})" for key, reason in list(failures.items())[:KEYS_IN_MESSAGE])
    line = f"{len(failures)} of {chosen} Open Images pictures are unavailable: {first}"
    if len(failures) > KEYS_IN_MESSAGE:
        line += ", …"
    if len(failures) > max_missing * chosen:
        write_json(path, report)
        raise DatasetError(
            f"{line}; more than dataset.max_missing={max_missing:g} allows. {path} lists them; what came is kept: "
            "run the same command again, or allow more"
        )
    _say(line)


def _records(
    selection: Selection, failures: Mapping[str, str], tables: Mapping[str, Tables], classes: Classes, cache: Path
) -> tuple[list[dict[str, Any]], int]:
    """The rows of index.parquet, and how many boxes are not used."""
    available = {
        split: [image_id for image_id in ids if pictures.picture_key(split, image_id) not in failures]
        for split, ids in selection.ids.items()
    }
    files = {
        split: loader.SplitFiles(ids, tables[split].boxes, cache / "pictures" / split)
        for split, ids in available.items()
    }
    boxes, unused = loader.load(files, classes, cache)
    records = [
        _record(image_id, split, row, boxes[image_id])
        for split, ids in available.items()
        for image_id, row in sorted(picture_rows(tables[split].pictures, ids).items())
    ]
    return records, unused


def _record(image_id: str, split: str, row: Mapping[str, str], boxes: list[Box]) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "path": f"images/{image_id}.jpg",
        "source_url": row["OriginalURL"] or row["OriginalLandingURL"] or None,
        "licence": row["License"] or None,
        "author": row["Author"] or None,
        "title": row["Title"] or None,
        "rotation": float(row["Rotation"] or 0.0),
        "source_split": split,
        "boxes": boxes,
    }


def _write(folder: Path, records: Sequence[Mapping[str, Any]], fetched: Path, report: Mapping[str, Any]) -> None:
    """Fill `folder`; the index comes last, so that a folder with an index is whole."""
    (folder / "index.parquet").unlink(missing_ok=True)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with progress("Copying pictures", len(records), "pictures") as advance:
        for record in records:
            key = pictures.picture_key(record["source_split"], record["image_id"])
            copy_picture(fetched / key, folder / record["path"])
            advance(1)
    write_tables(folder, records, PREFACE, report, report["missing"])
