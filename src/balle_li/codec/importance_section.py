"""The importance r as a stream carries it: whole levels, a byte for an even picture, some dozens for boxes."""

import zlib

import numpy as np

from balle_li.codec.pictures import inflate
from balle_li.errors import BitstreamError
from balle_li.importance import LIMIT, Levels


def pack_levels(levels: Levels) -> bytes:
    """`(rows, columns)` levels: one byte where all are alike, else each one's difference from the one above it, deflated."""
    if (levels == levels.flat[0]).all():
        return levels.flat[0].tobytes()
    return zlib.compress(np.diff(levels, axis=0, prepend=np.int8(0)).tobytes(), 9)


def unpack_levels(data: bytes, rows: int, columns: int) -> Levels:
    """What `pack_levels` packed. Raises BitstreamError: it is no map of that size, or a level is out of range."""
    if len(data) == 1:
        levels = np.full((rows, columns), np.frombuffer(data, np.int8)[0], np.int8)
    else:
        differences = np.frombuffer(inflate(data, rows * columns), np.int8)
        if differences.size != rows * columns:
            raise BitstreamError("the importance in the stream has the wrong size; the stream is damaged")
        levels = differences.reshape(rows, columns).cumsum(axis=0, dtype=np.int8)
    if np.abs(levels.astype(np.int16)).max() > LIMIT:
        raise BitstreamError("the importance in the stream is out of range; the stream is damaged")
    return levels
