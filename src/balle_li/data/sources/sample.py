"""The embedded sample: photographs inside packages that are installed anyway, with boxes in Open Images' class names.

`sample.json` holds, for each picture, the package and file it lies in, its size, its author and licence as the package
documents them, and boxes drawn by hand: `corners` are [xmin, ymin, xmax, ymax] in pixels. Objects that fill the whole
background and objects of a few pixels have no box; pictures of textures have none at all.
"""

import importlib.util
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from balle_li.boxes import Box
from balle_li.data.sources import copy_picture, register_source, write_tables
from balle_li.errors import DatasetError
from balle_li.progress import progress

DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
PREFACE = (
    "Photographs that ship inside scikit-image, scikit-learn and matplotlib, with author and licence as documented "
    "in `skimage.data` and beside scikit-learn's images; matplotlib's portrait is a work of the United States Navy. "
    "The boxes are part of Balle-Li."
)


@register_source("sample")
class Sample:
    """The embedded sample, which has no parameters."""

    def download(self, folder: Path, seed: int, max_missing: float) -> None:
        """Copy the sample's pictures to `folder/images` and write the tables beside them; see `Source.download`.

        Raises DatasetError: a package that holds a picture is not installed.
        """
        pictures = catalogue()
        records = []
        with progress("Copying the sample", len(pictures), "pictures") as advance:
            for image_id, picture in pictures.items():
                source = locate(picture)
                path = f"images/{image_id}{source.suffix}"
                copy_picture(source, folder / path)
                records.append(
                    {
                        "image_id": image_id,
                        "path": path,
                        **{name: picture[name] for name in ("source_url", "licence", "author", "title")},
                        "rotation": 0.0,
                        "source_split": None,
                        "boxes": boxes_of(picture),
                    }
                )
                advance(1)
        write_tables(folder, records, PREFACE, {"source": "sample"}, missing=[])


def catalogue() -> dict[str, dict[str, Any]]:
    """What `sample.json` says, by image_id."""
    text = files("balle_li.data.sources").joinpath("sample.json").read_text(encoding="utf-8")
    pictures: dict[str, dict[str, Any]] = json.loads(text)
    return pictures


def locate(picture: Mapping[str, Any]) -> Path:
    """The picture's file inside its package, which is not imported.

    Raises DatasetError: the package is not installed, or the file is not in it.
    """
    package = picture["package"]
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations if spec else None) or []:
        path = Path(location, picture["file"])
        if path.is_file():
            return path
    raise DatasetError(
        f"{package}/{picture['file']}, a picture of the sample, is missing: "
        f"install it with `pip install --force-reinstall {DISTRIBUTIONS[package]}`"
    )


def boxes_of(picture: Mapping[str, Any]) -> list[Box]:
    """The picture's boxes, normalised."""
    width, height = picture["width"], picture["height"]
    boxes = []
    for box in picture["boxes"]:
        xmin, ymin, xmax, ymax = box["corners"]
        flags = {name: box[name] for name in ("is_group_of", "is_depiction") if name in box}
        boxes.append(Box(xmin / width, ymin / height, xmax / width, ymax / height, box["label"], **flags))
    return boxes
