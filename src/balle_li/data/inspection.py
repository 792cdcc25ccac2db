"""What curation has to know of pictures' files: whether each decodes, its size, its quality, and which look alike."""

import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.data.manifest import IndexRow
from balle_li.errors import DatasetError, in_one_line
from balle_li.files import printable, sha256_file
from balle_li.image_io import exif_orientation, opened, read_picture
from balle_li.progress import progress

HASH_SIDE = 64  # pictures are averaged to this square before they are hashed
THUMBNAIL_SIDE = 16
HASH_BITS = 64

# Thumbnails of one picture at several sizes and qualities differ by about a level; each scene's own contrast sets how
# much more may be the same scene once more.
SAME_LEVELS = 2.0
SAME_FRACTION_OF_CONTRAST = 0.15

# Annex K of ITU-T T.81, table K.1: luminance, row by row.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


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
            return str(error).removeprefix(f"{printable(path)}: ")
        except Exception as error:  # whatever a broken file makes the libraries stumble over costs that picture alone
            return f"cannot be decoded: {in_one_line(error)}"

    with progress("Checking pictures", len(rows), "pictures") as advance, ThreadPool(os.cpu_count()) as pool:
        for inspection in pool.imap(inspect, rows):
            advance(1)
            yield inspection


def read_jpeg_quality(path: str | os.PathLike[str]) -> int | None:
    """The estimated quality of a JPEG file, 1 to 100; None for other formats. Reads the header only."""
    with opened(path) as image:
        tables = getattr(image, "quantization", None)
    return estimate_quality(tables[min(tables)]) if tables else None


def estimate_quality(table: Sequence[int]) -> int:
    """The quality, 1 to 100, at which libjpeg would write the luminance table nearest to `table` (64 steps, row by row).

    Programs with tables of their own (cameras, Photoshop) get the quality whose steps are as coarse as theirs.
    """
    distance = np.abs(np.log(_libjpeg_tables()) - np.log(np.maximum(table, 1))).sum(axis=1)
    return int(distance.argmin()) + 1


@functools.cache
def _libjpeg_tables() -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """`(100, 64)`: libjpeg's luminance table at quality 1 to 100 (jcparam.c, jpeg_quality_scaling)."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table: np.ndarray[tuple[int, int], np.dtype[np.int64]] = (np.ravel(LUMINANCE) * percent + 50) // 100
    return table.clip(1, 255)


def exact_duplicates(pictures: Mapping[str, Inspection], boxes: Mapping[str, int]) -> dict[str, str]:
    """For each picture whose file has the bytes of another one's: the id of the one to keep.

    That is the one with the most boxes, or else the smallest id: a copy without labels does not cost a labelled one its
    boxes. boxes: their number by id, where there are any.
    """
    first: dict[str, str] = {}
    return {
        image_id: first[pictures[image_id].sha256]
        for image_id in sorted(pictures, key=lambda image_id: (-boxes.get(image_id, 0), image_id))
        if first.setdefault(pictures[image_id].sha256, image_id) != image_id
    }


def near_duplicates(pictures: Mapping[str, Inspection], boxes: Mapping[str, int], bits: int) -> dict[str, str]:
    """For each picture that looks like a better one: the id of that one, which is kept. None if `bits` is negative.

    Two pictures look alike when their perceptual hashes differ in at most `bits` of 64 bits and their thumbnails agree;
    the hash alone says nothing of pictures without structure. The better one has more pixels, or else more boxes, or else
    the smaller id. No two of the remaining pictures look alike. boxes: their number by id, where there are any.

    Hashes that differ in at most `bits` bits are equal in at least one of `bits + 1` bands, so only pictures that share
    a band are compared: for 100,000 pictures and 4 bits a few seconds instead of 5 billion comparisons.
    """
    if bits < 0:
        return {}
    order = sorted(pictures, key=lambda image_id: (-pictures[image_id].pixels, -boxes.get(image_id, 0), image_id))
    hashes = [pictures[image_id].perceptual_hash for image_id in order]
    duplicates: dict[str, str] = {}
    kept_by_band: dict[tuple[int, int], list[int]] = defaultdict(list)  # places in `order`
    for place, (image_id, value) in enumerate(zip(order, hashes, strict=True)):
        bands = list(enumerate(_bands(value, bits + 1)))
        candidates = {
            kept for band in bands for kept in kept_by_band.get(band, ()) if (value ^ hashes[kept]).bit_count() <= bits
        }
        alike = sorted(candidates)
        twin = _first_of_same_scene(pictures[image_id], [pictures[order[kept]] for kept in alike])
        if twin is not None:
            duplicates[image_id] = order[alike[twin]]
            continue
        for band in bands:
            kept_by_band[band].append(place)
    return duplicates


def _bands(value: int, count: int) -> list[int]:
    """The bits of a 64-bit hash in `count` parts of nearly equal width."""
    edges = [HASH_BITS * i // count for i in range(count + 1)]
    return [(value >> low) & ((1 << (high - low)) - 1) for low, high in pairwise(edges)]


def _first_of_same_scene(picture: Inspection, candidates: Sequence[Inspection]) -> int | None:
    """The place of the first candidate whose thumbnail agrees with the picture's; None if there is none."""
    if not candidates:
        return None
    own = picture.thumbnail.astype(np.float32)
    others = np.stack([candidate.thumbnail for candidate in candidates]).astype(np.float32)
    differences = np.sqrt(np.mean((others - own) ** 2, axis=(1, 2, 3)))
    contrasts = np.minimum(others.std(axis=(1, 2, 3)), own.std())
    same = differences <= SAME_LEVELS + SAME_FRACTION_OF_CONTRAST * contrasts
    return int(same.argmax()) if same.any() else None
