import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from balle_li.configuration import from_mapping
from balle_li.datasets.attribution import write_attribution
from balle_li.datasets.manifest import read_index
from balle_li.datasets.raw_folder import copy_picture
from balle_li.datasets.sources import DatasetConfig, DirectoryConfig, OpenImagesConfig, download
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
    config = from_mapping(DatasetConfig, params["dataset"], "dataset")
    assert isinstance(config.open_images, OpenImagesConfig)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "directory"}, "directory.paths is empty"),
        ({"source": "imagenet"}, "must be one of sample, directory, open-images"),
        ({"max_missing": 1.5}, "max_missing must be between 0 and 1"),
        ({"directory": {"paths": [], "labels": "coca"}}, "must be one of auto, none, coco"),
        ({"open_images": {**section()["open_images"], "splits": []}}, "names no split"),
        ({"open_images": {**section()["open_images"], "max_samples": 0}}, "max_samples must be at least 1"),
    ],
)
def test_a_wrong_parameter_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(DatasetConfig, section(**changes), "dataset")


def test_download_fills_the_folder_from_the_chosen_source(tmp_path: Path) -> None:
    download(from_mapping(DatasetConfig, section(), "dataset"), seed=0, folder=tmp_path)
    rows = read_index(tmp_path / "index.parquet")
    assert len(rows) >= 16
    assert {path.name for path in tmp_path.iterdir()} == {"images", "index.parquet", "report.json", "ATTRIBUTION.md"}


def test_the_configuration_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'pyarrow', 'fiftyone', 'torch'}"
    code = f"import sys, balle_li.datasets.sources; print(sorted({heavy} & set(sys.modules)))"
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
    config = from_mapping(DatasetConfig, section(source="sample"), "dataset")
    assert config.directory == DirectoryConfig([], "auto")
