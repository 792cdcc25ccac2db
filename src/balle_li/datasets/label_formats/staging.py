"""Labels as FiftyOne's importers want them, and what the importers make of them.

Layouts found in the wild differ from what an importer reads in many small ways. So each format writes the labels of a
folder into a temporary one, exactly in FiftyOne's layout, with pictures linked under plain names; an importer reads
that and gives boxes by these names. The importers are iterated over directly, without a dataset: one unusable label
then costs one picture's boxes, where FiftyOne's own import would end.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from balle_li.boxes import Box
from balle_li.datasets.label_formats.labels import Labels
from balle_li.progress import progress

CLIPPED = 1e-4
"""Share of the picture by which a corner lies outside when a box is clipped; less is a rounding of the labels."""
Finish = Callable[[Path, list[Box]], list[Box]]


def key_of(number: int) -> str:
    """The name of the `number`th staged picture; it sorts as the number does, and no reader takes it for a number."""
    return f"picture{number:09d}"


def link_pictures(folder: Path, pictures: Sequence[Path]) -> None:
    """Link pictures into `folder` under their keys, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        (folder / f"{key_of(number)}{picture.suffix.lower()}").symlink_to(picture)


def import_boxes(
    module: str, importer: str, options: dict[str, Any], pictures: Sequence[Path], labels: Labels, finish: Finish
) -> None:
    """Run an importer of FiftyOne's over staged `pictures` and put their boxes into `labels`.

    `finish(picture, boxes)` has the last word on a picture's boxes. Labels that cannot be used become problems.
    """
    import pandas

    from balle_li.datasets.fiftyone_database import connect

    connect()
    # Without this pandas 3 makes Open Images' importer three times slower.
    with pandas.option_context("future.infer_string", False):
        reader = getattr(importlib.import_module(module), importer)(**options)
        reader.setup()
        with progress("Reading labels", len(pictures), "pictures") as advance:
            by_key = {key_of(number): picture for number, picture in enumerate(pictures)}
            failures = []
            for outcome in _outcomes(reader):
                if isinstance(outcome, Exception):
                    failures.append(f"{type(outcome).__name__}: {outcome}")
                else:
                    picture = by_key.pop(Path(outcome[0]).stem)
                    labels.set_boxes(picture, finish(picture, _to_boxes(outcome[2], picture, labels)))
                advance(1)
        # An importer that fails does not say on which picture, but it goes through them in the order of their keys.
        for picture, failure in zip(by_key.values(), failures, strict=True):
            labels.add_problem(picture, f"its labels cannot be read: {failure}")
            labels.set_boxes(picture, [])


def _outcomes(reader: Any) -> Iterator[Any]:
    """For each picture what the importer gives, (path, metadata, Detections or None), or the exception that it raised."""
    iterator = iter(reader)
    for _ in range(len(reader)):
        try:
            yield next(iterator)
        except Exception as error:
            yield error


def _to_boxes(detections: Any, picture: Path, labels: Labels) -> list[Box]:
    boxes = []
    for detection in detections.detections if detections is not None else []:
        x, y, width, height = map(float, detection.bounding_box)
        box = _to_box(detection)
        labels.crowd_boxes += detection.has_field("iscrowd") and bool(detection["iscrowd"])
        if box is None:
            corners = list(detection.bounding_box)
            labels.add_problem(picture, f"the box {detection.label!r} at {corners} has no area in the picture")
        else:
            labels.clipped_boxes += min(x, y) < -CLIPPED or max(x + width, y + height) > 1 + CLIPPED
            boxes.append(box)
    return boxes


def _to_box(detection: Any) -> Box | None:
    x, y, width, height = map(float, detection.bounding_box)
    is_group_of, is_crowd, is_depiction = (
        detection.has_field(name) and bool(detection[name]) for name in ("IsGroupOf", "iscrowd", "IsDepiction")
    )
    flags = {"is_group_of": is_group_of or is_crowd, "is_depiction": is_depiction}
    return Box.clipped(x, y, x + width, y + height, str(detection.label), **flags)
