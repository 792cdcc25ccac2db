"""How strongly a JPEG picture was compressed, read from its quantization table."""

import functools
import os
from collections.abc import Sequence

import numpy as np

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


def read_jpeg_quality(path: str | os.PathLike[str]) -> int | None:
    """The estimated quality of a JPEG file, 1 to 100; None for other formats. Reads the header only."""
    from PIL import Image

    with Image.open(path) as image:
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
