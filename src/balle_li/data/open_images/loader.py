"""FiftyOne's own Open Images loader, given exactly what it may load.

Left to itself the loader parses the whole box table (9 GB of memory), aborts at the first missing picture, and takes cut
files for whole ones. So the chosen rows, classes and pictures are laid out where it looks for its downloads, and it
imports them: its reading of labels is what the project's boxes come from.
"""

import contextlib
import csv
import dataclasses
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from balle_li.boxes import Box
from balle_li.data import fiftyone_database
from balle_li.data.open_images.tables import BOX_COLUMNS, Classes, rows_with
from balle_li.errors import DatasetError
from balle_li.progress import progress

ZOO_NAME = "open-images-v7"
LABELS = "ground_truth.detections"
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """A split's chosen pictures, all of them on disk as `pictures/<ImageID>.jpg`, and its table of boxes."""

    ids: Sequence[str]
    boxes: Path
    pictures: Path


def load(splits: Mapping[str, SplitFiles], classes: Classes, scratch: Path) -> tuple[dict[str, list[Box]], int]:
    """The boxes, by ImageID, of the pictures of `splits`, as FiftyOne's zoo loader reads them; and how many are not used.

    All boxes of a picture, whatever their class, in an order of their own content. Not used are those without an area in
    their picture, and those of a class that the class list lacks. `scratch` is a folder for temporary files that no other
    process uses.

    Raises DatasetError: FiftyOne has no database, or it did not return exactly these pictures and boxes.
    """
    splits = {split: files for split, files in splits.items() if files.ids}
    if not splits:
        return {}, 0
    fiftyone_database.connect()
    scratch.mkdir(parents=True, exist_ok=True)
    for stale in scratch.glob("zoo-*"):  # of a process that was killed
        shutil.rmtree(stale)
    with TemporaryDirectory(dir=scratch, prefix="zoo-") as zoo:
        laid = [_lay_out(Path(zoo, ZOO_NAME, split), files, split, classes) for split, files in sorted(splits.items())]
        dataset = _load_zoo_dataset(Path(zoo), splits)
        try:
            found, boxes = _read_boxes(dataset)
        finally:
            dataset.delete()
    rows, nameless = (sum(counts) for counts in zip(*laid, strict=True))
    pictures = {image_id for files in splits.values() for image_id in files.ids}
    if boxes.keys() != pictures or found != rows:
        raise DatasetError(
            f"FiftyOne loaded {len(boxes)} of {len(pictures)} Open Images pictures with {found} of {rows} boxes; "
            "another version of FiftyOne may read them differently: install the one of requirements.lock"
        )
    return boxes, nameless + found - sum(map(len, boxes.values()))


def _lay_out(folder: Path, files: SplitFiles, split: str, classes: Classes) -> tuple[int, int]:
    """Make `folder` what the loader's own download would have made it; returns as `_write_detections`."""
    for name in ("metadata", "labels", "data"):
        (folder / name).mkdir(parents=True)
    with open(folder / "metadata" / "image_ids.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("ImageID", "Subset"), *((image_id, split) for image_id in files.ids)])
    with open(folder / "metadata" / "classes.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(classes.names.items())
    (folder / "metadata" / "hierarchy.json").write_text(json.dumps(classes.named_hierarchy()), encoding="utf-8")
    return _write_detections(folder / "labels" / "detections.csv", files, classes)


def _write_detections(path: Path, files: SplitFiles, classes: Classes) -> tuple[int, int]:
    """The rows of the chosen pictures; returns how many, and how many of classes that the class list lacks.

    The latter would abort the load: they are left out.
    """
    known = pa.array(sorted(classes.names), pa.string())
    schema = pa.schema([(column, pa.string()) for column in BOX_COLUMNS])
    rows = nameless = 0
    with pacsv.CSVWriter(path, schema, write_options=pacsv.WriteOptions(quoting_style="none")) as writer:
        for batch in rows_with(files.boxes, BOX_COLUMNS, "ImageID", files.ids, quoted=False):
            named = batch.filter(pc.is_in(batch.column("LabelName"), value_set=known))
            nameless += batch.num_rows - named.num_rows
            writer.write_batch(pa.record_batch([_known_flag(named, name) for name in BOX_COLUMNS], schema=schema))
            rows += named.num_rows
    return rows, nameless


def _known_flag(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of `batch`; a flag that is -1, which is unknown in Open Images and true in FiftyOne, becomes 0."""
    column = batch.column(name)
    return pc.if_else(pc.equal(column, "-1"), "0", column) if name in FLAGS else column


def _load_zoo_dataset(zoo: Path, splits: Mapping[str, SplitFiles]) -> Any:
    import fiftyone
    import fiftyone.utils.openimages as loader
    import fiftyone.zoo
    import pandas as pd

    def link_pictures(image_ids: Sequence[str], split: str, dataset_dir: str, **_: Any) -> int:
        for image_id in image_ids:
            name = f"{image_id}.jpg"
            Path(dataset_dir, "data", name).symlink_to(splits[split].pictures.resolve() / name)
        return len(image_ids)

    def parse_csv(filename: str, dataframe: bool = False, index_col: Any = None) -> Any:
        if dataframe:  # FiftyOne leaves the type to pandas, for which an ImageID of digits is a number
            return pd.read_csv(filename, index_col=index_col, dtype={"ImageID": object})
        with open(filename, encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    total = sum(len(files.ids) for files in splits.values())
    with (
        progress("Loading labels", total, "pictures") as advance,
        _replaced(loader, "_download_images_if_necessary", link_pictures),
        _replaced(loader, "_parse_csv", parse_csv),
        _replaced(fiftyone.config, "dataset_zoo_dir", str(zoo)),
        pd.option_context("future.infer_string", False),  # pandas 3's strings make the import three times slower
    ):
        last = 0

        def report(bar: Any) -> None:
            nonlocal last
            advance(bar.iteration - last if bar.iteration >= last else bar.iteration)
            last = bar.iteration

        return fiftyone.zoo.load_zoo_dataset(
            ZOO_NAME,
            splits=sorted(splits),
            label_types=["detections"],
            image_ids=[f"{split}/{image_id}" for split, files in splits.items() for image_id in files.ids],
            dataset_name=f"balle-li-download-{uuid.uuid4().hex}",
            progress=report,
        )


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` for a while. Raises AttributeError when there is no such name to replace."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _read_boxes(dataset: Any) -> tuple[int, dict[str, list[Box]]]:
    """How many boxes the data set holds, and those with an area inside their picture by ImageID."""
    fields = ("label", "bounding_box", "IsGroupOf", "IsDepiction")
    paths, *columns = dataset.values(["filepath", *(f"{LABELS}.{field}" for field in fields)])
    found = 0
    boxes = {}
    for path, *values in zip(paths, *columns, strict=True):
        read = [
            Box.clipped(x, y, x + width, y + height, label, is_group_of=group, is_depiction=depiction)
            for label, (x, y, width, height), group, depiction in zip(*(value or [] for value in values), strict=True)
        ]
        found += len(read)
        # The loader's order depends on the process: it goes through sets of text.
        boxes[Path(path).stem] = sorted(filter(None, read), key=_by_label)
    return found, boxes


def _by_label(box: Box) -> tuple[Any, ...]:
    return box.label, *dataclasses.astuple(box)
