"""Where pictures come from: the sample inside installed packages, the user's own folders, or Open Images."""

import dataclasses
from pathlib import Path
from typing import Literal

from balle_li.configuration import require


@dataclasses.dataclass(frozen=True)
class DirectoryConfig:
    """The user's own folders of pictures."""

    paths: list[str]  # folders; relative ones start from the project
    labels: Literal[
        "auto", "none", "coco", "yolo", "voc", "open-images"
    ]  # the layout of the labels beside the pictures


@dataclasses.dataclass(frozen=True)
class OpenImagesConfig:
    """A selection of Open Images V7."""

    splits: list[Literal["train", "validation", "test"]]
    classes: list[str]  # names of boxable classes
    include_children: bool  # also the classes below these in the Open Images hierarchy
    max_samples: int  # pictures, in all splits together
    licences: list[str]  # licence URLs to accept; empty: any
    workers: int  # parallel downloads

    def __post_init__(self) -> None:
        require(bool(self.splits), "open_images.splits names no split: give train, validation or test")
        require(len(set(self.splits)) == len(self.splits), "open_images.splits names a split twice")
        require(self.max_samples >= 1, f"open_images.max_samples must be at least 1, not {self.max_samples}")
        require(self.workers >= 1, f"open_images.workers must be at least 1, not {self.workers}")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """The `dataset` section of params.yaml."""

    source: Literal["sample", "directory", "open-images"]
    max_missing: float  # share of the chosen pictures, in [0, 1], that may be missing
    directory: DirectoryConfig
    open_images: OpenImagesConfig

    def __post_init__(self) -> None:
        require(0.0 <= self.max_missing <= 1.0, f"max_missing must be between 0 and 1, not {self.max_missing}")
        if self.source == "directory":
            require(bool(self.directory.paths), "directory.paths is empty: name the folders that hold your pictures")


def download(config: DatasetConfig, seed: int, folder: Path) -> None:
    """Bring the chosen source's pictures to `folder/images` and write index.parquet, report.json and ATTRIBUTION.md.

    Pictures that an earlier, interrupted call left in `folder` are used again. Each source's module is imported only
    when it is chosen. Raises DatasetError: pictures or labels are missing or not what was asked for.
    """
    if config.source == "sample":
        from balle_li.datasets import sample

        sample.download(folder)
    elif config.source == "directory":
        from balle_li.datasets import directory

        directory.download(config.directory, config.max_missing, folder)
    else:
        from balle_li.datasets import open_images

        open_images.download(config.open_images, config.max_missing, seed, folder)
