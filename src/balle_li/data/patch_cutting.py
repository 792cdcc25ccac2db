"""Cutting one shard: its pictures are read one after the other and their patches written as they are cut.

Everything random about a picture comes from a generator of its own, seeded by the seed and the picture's id: neither
the order, nor the number of workers, nor the other pictures change its patches.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from balle_li.boxes import Box, clip_to_window, from_records, to_records
from balle_li.config import PatchConfig
from balle_li.data.manifest import check_unchanged
from balle_li.data.patch_plan import scaled_size
from balle_li.data.patch_store import INDEX_SCHEMA, shard_bytes, shard_name, write_shard_header
from balle_li.errors import DatasetError
from balle_li.files import atomic_path
from balle_li.image_io import read_picture, upright_size

MIN_VISIBLE = 0.1  # a patch keeps a box when it shows at least this fraction of it


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to cut a shard; `pictures` are rows of the manifest, with `counts` patches each."""

    raw: Path
    folder: Path
    number: int
    first_patch: int
    pictures: Sequence[Mapping[str, Any]]
    counts: Sequence[int]
    config: PatchConfig
    class_weights: Mapping[str, float]
    seed: int

    @property
    def shard_path(self) -> Path:
        return self.folder / shard_name(self.number)

    @property
    def index_path(self) -> Path:
        """This shard's rows of the split's index; written last, it says that the shard is finished."""
        return self.shard_path.with_suffix(".parquet")

    @property
    def note_path(self) -> Path:
        """Names the picture being read, for when the process dies of it."""
        return self.shard_path.with_suffix(".reading")

    def is_finished(self) -> bool:
        expected = shard_bytes(sum(self.counts), self.config.size)
        return self.index_path.is_file() and self.shard_path.is_file() and self.shard_path.stat().st_size == expected


def cut_shard(task: ShardTask) -> int:
    """Write the shard and its part of the index, unless an earlier run did; return the number of its pictures.

    Holds one picture in memory. Raises DatasetError: a picture cannot be read or is not the one in the manifest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if task.is_finished():
        return len(task.pictures)
    rows: list[dict[str, Any]] = []
    patch = np.empty((task.config.size, task.config.size, 3), np.uint8)
    with atomic_path(task.shard_path) as part, open(part, "wb") as file, _note(task.note_path) as note:
        write_shard_header(file, sum(task.counts), task.config.size)
        for picture, count in zip(task.pictures, task.counts, strict=True):
            path = task.raw / picture["path"]
            note(path)
            pixels, scale = _read_scaled(path, picture, task.config)
            boxes = from_records(picture["boxes"])
            height, width = pixels.shape[:2]
            generator = picture_generator(task.seed, picture["image_id"])
            for x, y in patch_corners(width, height, boxes, count, task.config, task.class_weights, generator):
                patch[:] = pixels[y : y + task.config.size, x : x + task.config.size]
                file.write(patch.data)
                rows.append(
                    {
                        "patch": task.first_patch + len(rows),
                        "shard": task.number,
                        "row": len(rows),
                        "image_id": picture["image_id"],
                        "x": x,
                        "y": y,
                        "scale": scale,
                        "boxes": to_records(_boxes_in_patch(boxes, x, y, picture, task.config)),
                    }
                )
    with atomic_path(task.index_path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), part)
    return len(task.pictures)


def picture_generator(seed: int, image_id: str) -> np.random.Generator:
    """The source of every random choice about a picture."""
    digest = hashlib.sha256(f"patches:{seed}:{image_id}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def patch_corners(
    width: int,
    height: int,
    boxes: Sequence[Box],
    count: int,
    config: PatchConfig,
    class_weights: Mapping[str, float],
    generator: np.random.Generator,
) -> list[tuple[int, int]]:
    """Top-left corners (x, y), in pixels, of `count` patches of a picture; neither of its sides is below a patch's.

    `config.object_fraction` of them (on average, where that is no whole number) are placed around a box, chosen with a
    probability in proportion to its class's weight; the others fall anywhere.
    """
    size = config.size
    weights = np.array([class_weights.get(box.label, 1.0) for box in boxes], np.float64)
    around_boxes = int(config.object_fraction * count + generator.random()) if weights.sum() > 0 else 0
    corners = []
    for patch in range(count):
        if patch < around_boxes:
            chosen = np.searchsorted(np.cumsum(weights), generator.random() * weights.sum(), side="right")
            box = boxes[min(int(chosen), len(boxes) - 1)]
            x = _corner_around(box.xmin * width, box.xmax * width, width, size, generator)
            y = _corner_around(box.ymin * height, box.ymax * height, height, size, generator)
        else:
            x = int(generator.random() * (width - size + 1))
            y = int(generator.random() * (height - size + 1))
        corners.append((x, y))
    return corners


def _corner_around(low: float, high: float, length: int, size: int, generator: np.random.Generator) -> int:
    """Where a patch starts along one axis so that it holds [low, high] or, where that is longer, lies in it."""
    first, last = min(low, high - size), max(low, high - size)
    corner = first + generator.random() * (last - first)
    return min(max(round(corner), 0), length - size)


def _read_scaled(path: Path, picture: Mapping[str, Any], config: PatchConfig) -> tuple[npt.NDArray[np.uint8], float]:
    """The upright picture as uint8 (height, width, 3) at the size it is cut at, and the scale that took."""
    size = picture["width"], picture["height"]
    found = upright_size(path, picture["rotation"])
    if found != size:
        raise DatasetError(
            f"{path}: is {found[0]}x{found[1]}, but the manifest says {size[0]}x{size[1]};"
            " run `kedro run --pipeline curate` again"
        )
    check_unchanged(path, picture)
    target = scaled_size(*size, config)
    image = read_picture(path, picture["rotation"], at_least=target)
    if image.size != target:
        image = image.resize(target, Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    missing = [(0, max(config.size - length, 0)) for length in pixels.shape[:2]]
    if any(after for _, after in missing):
        pixels = np.pad(pixels, [*missing, (0, 0)], mode="reflect")
    return pixels, target[0] / size[0]


def _boxes_in_patch(boxes: Sequence[Box], x: int, y: int, picture: Mapping[str, Any], config: PatchConfig) -> list[Box]:
    width, height = scaled_size(picture["width"], picture["height"], config)
    window = x / width, y / height, (x + config.size) / width, (y + config.size) / height
    return clip_to_window(boxes, *window, min_visible=MIN_VISIBLE)


@contextmanager
def _note(path: Path) -> Iterator[Callable[[Path], None]]:
    """Yield a function that notes what is being read; the note stays only if the process dies."""
    try:
        with open(path, "w", encoding="utf-8") as file:

            def note(picture: Path) -> None:
                file.seek(0)
                file.truncate()
                file.write(str(picture))
                file.flush()

            yield note
    finally:
        path.unlink(missing_ok=True)
