"""What curation has to know of a picture's file: whether it decodes, its size, its quality, and what it looks like."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.datasets.jpeg_quality import read_jpeg_quality
from balle_li.datasets.manifest import IndexRow
from balle_li.datasets.pictures import exif_orientation, read_picture
from balle_li.errors import DatasetError
from balle_li.files import sha256_file
from balle_li.progress import progress

HASH_SIDE = 64  # pictures are averaged to this square before they are hashed
THUMBNAIL_SIDE = 16


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A picture that decodes from its first to its last pixel."""

    sha256: str  # of the file
    width: int  # pixels of the upright picture
    height: int
    orientation: int  # EXIF, 1 to 8
    jpeg_quality: int | None  # estimated, 1 to 100; None for other formats
    perceptual_hash: int  # 64 bits; similar pictures have hashes that differ in few bits
    thumbnail: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"  # RGB (16, 16, 3)

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def shorter_side(self) -> int:
        return min(self.width, self.height)


def inspect_picture(path: Path, rotation: float) -> Inspection:
    """Decode a picture fully and measure it.

    The hash is the sign pattern of the lowest 8x8 DCT coefficients of the grey picture around their median (imagehash's
    `phash`). Raises DatasetError: the picture cannot be decoded.
    """
    import imagehash

    picture = read_picture(path, rotation)
    small = picture.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)
    return Inspection(
        sha256=sha256_file(path),
        width=picture.width,
        height=picture.height,
        orientation=exif_orientation(path),
        jpeg_quality=read_jpeg_quality(path),
        perceptual_hash=int(str(imagehash.phash(small)), 16),
        thumbnail=np.asarray(small.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)),
    )


def inspect_pictures(raw: Path, rows: Sequence[IndexRow]) -> Iterator[Inspection | str]:
    """Inspect every picture of the index, in order; for one that cannot be decoded, the reason in its place.

    Threads do, as Pillow decodes and hashlib hashes without the interpreter's lock. A few pictures are in memory at once.
    """

    def inspect(row: IndexRow) -> Inspection | str:
        path = raw / row["path"]
        try:
            return inspect_picture(path, row["rotation"])
        except DatasetError as error:
            return str(error).removeprefix(f"{path}: ")

    with progress("Checking pictures", len(rows), "pictures") as advance, ThreadPool(os.cpu_count()) as pool:
        for inspection in pool.imap(inspect, rows):
            advance(1)
            yield inspection
