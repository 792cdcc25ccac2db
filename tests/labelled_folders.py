"""Small folders of pictures with labels in the usual formats, and the directory source run on them."""

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from balle_li.boxes import Box
from balle_li.data.manifest import IndexRow, read_index
from balle_li.data.sources.directory import Directory

SIZE = (40, 20)
HALF = Box(0.0, 0.0, 0.5, 0.5, "Cat")  # the upper left quarter, in every format below


def picture(path: Path, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, "orange")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def run(folder: Path, *paths: Path, labels: Any = "auto", max_missing: float = 0.01) -> dict[str, IndexRow]:
    """Download the folders; the rows of the index by their ids without the digits of the content."""
    Directory([str(path) for path in paths], labels).download(folder, 0, max_missing)
    return {row["image_id"].rsplit("-", 1)[0]: row for row in read_index(folder / "index.parquet")}


def make_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No mode of a file keeps root from reading it, so that opening it is what fails."""
    really_open = open

    def refuse(file: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(file, int) and Path(file) == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really_open(file, *args, **options)

    for module in ("builtins", "io"):  # pathlib has its own way to it
        monkeypatch.setattr(f"{module}.open", refuse)
    return path


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return content


def coco(names: Sequence[str], **image: Any) -> str:
    return json.dumps(
        {
            "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/2.0/"}],
            "images": [
                {"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1], "license": 1, **image}
                for i, name in enumerate(names)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 7, "bbox": [0, 0, 20, 10]} for i in range(len(names))
            ],
            "categories": [{"id": 7, "name": "Cat"}],
        }
    )


def voc(name: str, size: str = "<size><width>40</width><height>20</height><depth>3</depth></size>") -> str:
    corners = "<xmin>0</xmin><ymin>0</ymin><xmax>20</xmax><ymax>10</ymax>"
    cat = f"<object><name>Cat</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation><filename>{name}</filename>{size}{cat}</annotation>"


YOLO_ROW = "1 0.25 0.25 0.5 0.5\n"


def open_images_tree(folder: Path, image_id: str, rotation: str) -> None:
    picture(folder / "data" / f"{image_id}.jpg")
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    rows = [
        f"{image_id},xclick,/m/01yrx,1,0,0.5,0,0.5,-1,0,1,-1,0",
        f"{image_id},xclick,/m/none,1,0,0.5,0,0.5,0,0,0,0,0",
    ]
    rows.append("0000000000000009,xclick,/m/01yrx,1,0,0.5,0,0.5,0,0,0,0,0")
    text(folder / "labels" / "detections.csv", "\n".join([header, *rows]))
    text(folder / "metadata" / "classes.csv", "/m/01yrx,Cat\n")
    facts = "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,Rotation"
    row = f'{image_id},train,,https://flic.kr/1,https://creativecommons.org/licenses/by/2.0/,,"Doe, Jane",A cat,{rotation}'
    text(folder / "metadata" / "image_ids.csv", f"{facts}\n{row}\n")
