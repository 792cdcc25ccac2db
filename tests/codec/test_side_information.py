import numpy as np
import pytest
from tiny_model import tiny_model

from balle_li.codec import side_information
from balle_li.codec.side_information import EntropyParameters, SideInformation


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (8, 8), (13, 5)])
def test_tiles_give_the_whole_pictures_result(monkeypatch, size):
    random = np.random.default_rng(0)
    u = random.normal(0, 5, (8, *size)).astype(np.float32)
    levels = random.integers(-16, 17, size).astype(np.int8)
    side = SideInformation(tiny_model("balle-li-roi"))
    z = side.analyse(u, levels)
    assert z.shape == (2, (size[0] + 1) // 2, (size[1] + 1) // 2) and z.std() > 0.3
    whole = side.parameters(z, levels)
    monkeypatch.setattr(side_information, "_TILE", 4)
    assert np.mean(side.analyse(u, levels) != z) < 0.01  # a value on the edge of rounding may tip
    tiled = side.parameters(z, levels)
    assert np.array_equal(tiled.mean, whole.mean) and np.array_equal(tiled.index, whole.index)
    tables = whole.tables(16)
    assert tables.min() == 0 and tables.max() >= 8


def test_tiles_of_the_context_give_the_whole_pictures_result(monkeypatch):
    random = np.random.default_rng(0)
    symbols = random.integers(-5, 6, (8, 9, 14)).astype(np.int16)
    foretold = EntropyParameters(np.zeros(symbols.shape, np.float32), np.full(symbols.shape, 1000, np.int32))
    side = SideInformation(tiny_model("balle-li-roi"))
    whole = side.with_context(foretold, symbols)
    monkeypatch.setattr(side_information, "_TILE", 4)
    tiled = side.with_context(foretold, symbols)
    assert np.array_equal(tiled.mean, whole.mean) and np.array_equal(tiled.index, whole.index)


def test_the_context_is_the_first_halfs_neighbours_and_moves_the_second_half():
    side = SideInformation(tiny_model("balle-li-roi"))
    symbols = np.zeros((8, 6, 6), np.int16)
    foretold = EntropyParameters(np.zeros(symbols.shape, np.float32), np.zeros(symbols.shape, np.int32))
    nothing = side.with_context(foretold, symbols)
    first = (np.add.outer(np.arange(6), np.arange(6)) % 2) == 0
    assert not nothing.mean[:, first].any()
    symbols[0, 2, 3] = 4
    assert np.array_equal(side.with_context(foretold, symbols).mean, nothing.mean)
    symbols[0, 2, 2] = 30
    changed = (side.with_context(foretold, symbols).mean != nothing.mean).any(axis=0)
    assert set(zip(*np.nonzero(changed), strict=True)) == {(1, 2), (2, 1), (2, 3), (3, 2)}


def test_importance_moves_the_entropy_parameters():
    side = SideInformation(tiny_model("balle-li-roi"))
    z = np.zeros((2, 3, 3), np.int16)
    low, high = (side.parameters(z, np.full((6, 6), level, np.int8)) for level in (-16, 16))
    assert not np.array_equal(low.index, high.index)
