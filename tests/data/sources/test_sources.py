import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from balle_li import registry
from balle_li.boxes import Box
from balle_li.config import DatasetConfig, DirectoryConfig, OpenImagesConfig, read
from balle_li.data.manifest import read_index
from balle_li.data.sources import build, copy_picture, download, write_attribution
from balle_li.errors import ConfigError, DatasetError


def section(**changes: Any) -> dict[str, Any]:
    open_images = {
        "splits": ["train"],
        "classes": [],
        "include_children": True,
        "max_samples": 10,
        "licences": [],
        "workers": 1,
    }
    values = {
        "source": "sample",
        "max_missing": 0.01,
        "directory": {"paths": [], "labels": "auto"},
        "open_images": open_images,
    }
    return {**values, **changes}


def test_the_params_of_the_project_are_accepted(root: Path) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    config = read(DatasetConfig, params["dataset"], "dataset")
    assert isinstance(config.open_images, OpenImagesConfig)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "directory"}, "directory.paths is empty"),
        ({"source": "imagenet"}, "data source 'imagenet' is unknown: known are directory, open-images, sample"),
        ({"max_missing": 1.5}, r"dataset\.max_missing is 1\.5, must be at most 1"),
        ({"directory": {"paths": [], "labels": "coca"}}, "must be one of auto, none, coco"),
        ({"open_images": {**section()["open_images"], "splits": []}}, "names no split"),
        (
            {"open_images": {**section()["open_images"], "max_samples": 0}},
            r"dataset\.open_images\.max_samples is 0, must be at least 1",
        ),
    ],
)
def test_a_wrong_parameter_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(DatasetConfig, section(**changes), "dataset")


def test_download_fills_the_folder_from_the_chosen_source(tmp_path: Path) -> None:
    download(read(DatasetConfig, section(), "dataset"), seed=0, folder=tmp_path)
    rows = read_index(tmp_path / "index.parquet")
    assert len(rows) >= 16
    assert {path.name for path in tmp_path.iterdir()} == {"images", "index.parquet", "report.json", "ATTRIBUTION.md"}


def test_the_configuration_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'pyarrow', 'fiftyone', 'torch'}"
    code = f"import sys, balle_li.data.sources; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_attribution_survives_any_text(tmp_path: Path) -> None:
    records = [
        {"image_id": "b", "author": "A | B", "licence": None, "title": "two\nlines", "source_url": "https://x.org/b"},
        {"image_id": "a", "author": None, "licence": "CC0", "title": None, "source_url": None},
    ]
    write_attribution(tmp_path / "ATTRIBUTION.md", records, "From somewhere.")
    lines = (tmp_path / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
    assert lines[-2:] == ["| a |  | unknown | CC0 |  |", "| b | two lines | A \\| B | unknown | https://x.org/b |"]


def test_a_copy_is_made_once_and_repaired_when_it_differs(tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "images" / "target.png"
    source.write_bytes(b"picture")
    source.chmod(0o444)
    copy_picture(source, target)
    first = target.stat()
    assert first.st_mode & 0o200, "a copy of a read-only picture must be writable, or it can't be replaced"
    copy_picture(source, target)
    assert target.stat().st_ino == first.st_ino
    target.write_bytes(b"pictuRe")  # as long, later, and damaged
    copy_picture(source, target)
    assert target.read_bytes() == b"picture"


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png"):
        copy_picture(tmp_path / "gone.png", tmp_path / "copy.png")


def test_directory_needs_no_paths_unless_chosen() -> None:
    config = read(DatasetConfig, section(source="sample"), "dataset")
    assert config.directory == DirectoryConfig([], "auto")


THEIRS = '''
"""Pictures and boxes that a CSV table lists: columns file, author, label, xmin, ymin, xmax, ymax (in pixels)."""

import csv
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from balle_li.boxes import Box
from balle_li.data.sources import copy_picture, write_tables
from balle_li.errors import DatasetError


@dataclass(frozen=True)
class Table:
    """The pictures of a table; their files are beside it.

    path: the table. licence: of all its pictures. Further parameters would be further fields.
    """

    path: str
    licence: str | None = None

    def download(self, folder: Path, seed: int, max_missing: float) -> None:
        table = Path(self.path).expanduser()
        if not table.is_file():
            raise DatasetError(f"dataset.csv_table.path: {table} does not exist")
        records: dict[str, dict] = {}
        for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
            source = table.parent / row["file"]
            if row["file"] not in records:
                path = f"images/{row['file']}"
                copy_picture(source, folder / path)
                records[row["file"]] = {
                    "image_id": source.stem,
                    "path": path,
                    "author": row["author"] or None,
                    "licence": self.licence,
                    "rotation": 0.0,
                    "boxes": [],
                }
            with Image.open(source) as picture:
                width, height = picture.size
            x0, y0, x1, y1 = (float(row[corner]) for corner in ("xmin", "ymin", "xmax", "ymax"))
            box = Box.clipped(x0 / width, y0 / height, x1 / width, y1 / height, row["label"])
            if box is not None:
                records[row["file"]]["boxes"].append(box)
        write_tables(folder, list(records.values()), "Our own pictures.", {"source": "csv-table"}, missing=[])
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a table of pictures; the package that reads it is installed, as pip leaves it on the path."""
    site = tmp_path / "site-packages"
    facts = site / "their_source-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "their_source.py").write_text(THEIRS)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-source\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[balle_li.sources]\ncsv-table = their_source:Table\n")
    monkeypatch.syspath_prepend(str(site))
    registry._offered.cache_clear()
    (tmp_path / "table").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (40, 20), "orange").save(tmp_path / "table" / f"{name}.png")
    rows = [
        "file,author,label,xmin,ymin,xmax,ymax",
        "a.png,Ada,Cat,0,0,20,10",
        "a.png,Ada,Dog,20,0,50,20",
        "b.png,,Cat,5,5,5,5",
    ]
    (tmp_path / "table" / "table.csv").write_text("\n".join(rows))
    yield tmp_path / "table" / "table.csv"
    sys.modules.pop("their_source", None)
    registry._offered.cache_clear()


def test_a_source_from_outside_is_downloaded(outside: Path, tmp_path: Path) -> None:
    from pipelines.download.nodes import download as node

    theirs = section(source="csv-table", csv_table={"path": str(outside), "licence": "CC0"})
    node(theirs, seed=0)(tmp_path / "raw")
    first, second = read_index(tmp_path / "raw" / "index.parquet")
    assert (first["image_id"], first["author"], first["licence"]) == ("a", "Ada", "CC0")
    assert first["boxes"] == [Box(0.0, 0.0, 0.5, 0.5, "Cat"), Box(0.5, 0.0, 1.0, 1.0, "Dog")] and second["boxes"] == []
    assert (tmp_path / "raw" / second["path"]).is_file()
    assert "| a |  | Ada | CC0 |" in (tmp_path / "raw" / "ATTRIBUTION.md").read_text()
    assert json.loads((tmp_path / "raw" / "report.json").read_text())["boxes"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"params.yaml: dataset.csv_table.path is missing"),
        ({"path": 7}, r"params.yaml: dataset.csv_table.path must be of type str, not 7"),
        (
            {"path": "x", "license": "CC0"},
            r"dataset.csv_table.license is unknown: did you mean 'licence'\? csv-table takes path",
        ),
    ],
)
def test_the_parameters_of_a_source_from_outside_are_checked(
    outside: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(read(DatasetConfig, section(source="csv-table", csv_table=arguments), "dataset"))


def test_a_section_of_no_source_is_unknown(outside: Path) -> None:
    read(DatasetConfig, section(csv_table={"path": "unused"}), "dataset")
    with pytest.raises(ConfigError, match=r"dataset\.csv_tabel is unknown"):
        read(DatasetConfig, section(csv_tabel={"path": "unused"}), "dataset")
