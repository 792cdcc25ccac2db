"""Labels beside pictures, in the layouts people have them in; FiftyOne's importers read them.

Each format's module offers `EXPECTED` (what it looks for, in words), `find` (the label files of a folder, or None) and
`read` (the boxes of each picture).
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from balle_li.datasets.label_formats import coco, open_images, voc, yolo
from balle_li.datasets.label_formats.labels import Labels
from balle_li.errors import DatasetError

FORMATS: dict[str, ModuleType] = {"open-images": open_images, "coco": coco, "voc": voc, "yolo": yolo}


def read_labels(
    kind: Literal["auto", "none", "coco", "yolo", "voc", "open-images"],
    root: Path,
    files: Sequence[Path],
    pictures: Sequence[Path],
) -> Labels:
    """The labels of `pictures`, which lie with other `files` under `root`; empty for "none", or "auto" without labels.

    Label files are looked for under `root` and, when there are none, a few folders above it, so that one split's
    folder of pictures finds its labels. Raises DatasetError: labels of `kind` are not there, are damaged, or are about
    other pictures.
    """
    if kind == "none":
        return Labels("none")
    for name, module in FORMATS.items() if kind == "auto" else [(kind, FORMATS[kind])]:
        found = module.find(root, files, pictures)
        if found is None:
            if kind != "auto":
                raise DatasetError(f"{root}: no labels of the kind {kind!r}; expected are {module.EXPECTED}")
            continue
        labels: Labels = module.read(found, pictures)
        if labels.by_picture:
            return labels
        if kind != "auto" or found.complete:
            first = f" (they name {labels.without_picture[0]!r}, for one)" if labels.without_picture else ""
            raise DatasetError(
                f"{root}: its {name} labels are about none of its pictures{first}; "
                "correct dataset.directory.paths, or set dataset.directory.labels to none"
            )
    return Labels("none")
