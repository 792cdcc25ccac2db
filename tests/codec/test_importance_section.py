import zlib

import numpy as np
import pytest

from balle_li.codec.importance_section import pack_levels, unpack_levels
from balle_li.errors import BitstreamError


@pytest.mark.parametrize("level", [-16, 0, 16])
def test_an_even_picture_takes_one_byte(level):
    levels = np.full((5, 7), level, np.int8)
    packed = pack_levels(levels)
    assert len(packed) == 1
    assert np.array_equal(unpack_levels(packed, 5, 7), levels)


def test_any_levels_come_back():
    levels = np.random.default_rng(0).integers(-16, 17, (9, 4)).astype(np.int8)
    assert np.array_equal(unpack_levels(pack_levels(levels), 9, 4), levels)


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"\x11",
        b"\x80",
        b"not deflated",
        zlib.compress(bytes(34)),
        zlib.compress(bytes(36)),
        zlib.compress(b"\x10" * 35),
    ],
)
def test_damage_is_refused(section):
    with pytest.raises(BitstreamError):
        unpack_levels(section, 5, 7)
