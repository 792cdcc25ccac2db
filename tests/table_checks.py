"""What must hold of every set of tables of scale indices, wherever it comes from."""

import numpy as np

from balle_li.latents.entropy_coder import EntropyCoder
from balle_li.latents.gaussian import SCALES


def check_tables_of_scales(coder: EntropyCoder) -> None:
    """Rows are symmetric, wider with each scale, and code what lies far outside of them."""
    tables = coder.tables
    assert tables.rows == SCALES
    assert (np.diff(tables.length) >= 0).all() and (tables.length == 2 - 2 * tables.offset).all()
    for frequencies, length in zip(tables.frequencies, tables.length, strict=True):
        row = frequencies[: length - 1]
        assert (row > 0).all() and np.abs(row - row[::-1]).max() <= 1
    values = np.array([-20, 3, 20000, 0])
    groups = [values if row == 30 else values[:0] for row in range(SCALES)]
    assert np.array_equal(coder.decode(*coder.encode(groups), [4 * (row == 30) for row in range(SCALES)])[30], values)
