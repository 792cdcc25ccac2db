import numpy as np
import pytest
import torch

from balle_li.errors import BalleLiError
from balle_li.latents.tables import Tables, integer_frequencies, symmetric_tables, table_tensors


@pytest.mark.parametrize("precision", [8, 16, 24])
def test_integer_rows_sum_exactly_and_leave_no_symbol_out(precision):
    random = np.random.default_rng(0)
    pmf, length = random.random((50, 120)) ** 12, random.integers(2, 121, 50)
    frequencies = integer_frequencies(pmf, length, precision)
    for row, symbols in zip(frequencies, length, strict=True):
        assert row[:symbols].sum() == 2**precision and row[:symbols].min() >= 1 and not row[symbols:].any()


def test_frequencies_follow_the_probabilities():
    random = np.random.default_rng(0)
    pmf = random.dirichlet(np.ones(40), 5)
    frequencies = integer_frequencies(pmf, np.full(5, 40))
    assert np.abs(frequencies / 2**16 - pmf).max() < 40 / 2**16
    cross_entropy = -(pmf * np.log2(frequencies / 2**16)).sum(axis=1)
    assert (cross_entropy + (pmf * np.log2(pmf)).sum(axis=1) < 1e-3).all()


@pytest.mark.parametrize("row", [[0.5, -0.1, 0.6], [np.nan, 0.5, 0.5], [0.0, 0.0, 0.0]])
def test_what_is_no_distribution_is_refused(row):
    with pytest.raises(BalleLiError):
        integer_frequencies(np.array([row]), np.array([3]))


def test_bits_are_minus_log2_of_the_probability():
    tables = Tables(
        np.array([[1, 2, 1, 0], [1, 1, 1, 1]], np.int32), np.zeros(2, np.int32), np.array([3, 4], np.int32), 2
    )
    assert np.array_equal(tables.bits(), [[2, 1, 2, np.inf], [2, 2, 2, 2]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frequencies": np.array([[3, 2]], np.int32)}, "sum to"),
        ({"frequencies": np.array([[0, 4]], np.int32)}, "at least 1"),
        ({"frequencies": np.array([[2, 2]], np.int64)}, "int32"),
        ({"length": np.array([3], np.int32)}, "length"),
        ({"offset": np.array([2**20], np.int32)}, "within"),
    ],
)
def test_tables_that_do_not_add_up_are_refused(change, words):
    arrays = {
        "frequencies": np.array([[2, 2]], np.int32),
        "offset": np.zeros(1, np.int32),
        "length": np.array([2], np.int32),
    }
    Tables.from_arrays(**arrays, precision=2, where="tables.y")
    with pytest.raises(BalleLiError, match=words):
        Tables.from_arrays(**arrays | change, precision=2, where="tables.y")


def test_tensors_come_back_as_tables():
    tensors = table_tensors("y", np.array([[0.5, 0.25, 0.25], [0.9, 0.1, 0.0]]), np.array([-1, 7]), np.array([3, 2]))
    tables = Tables.of("y", tensors)
    assert tables.rows == 2 and tables.precision == 16
    assert tables.offset.tolist() == [-1, 7] and tables.length.tolist() == [3, 2]
    assert tables.frequencies[0].tolist() == [2**15, 2**14, 2**14]
    with pytest.raises(BalleLiError, match=r"tables\.y\.offset is missing"):
        Tables.of("y", {name: tensor for name, tensor in tensors.items() if name != "y.offset"})
    with pytest.raises(BalleLiError, match=r"tables\.z\.frequencies is missing"):
        Tables.of("z", tensors)
    with pytest.raises(BalleLiError, match="int32"):
        Tables.of("y", tensors | {"y.length": torch.tensor([3.0, 2.0])})


def test_symmetric_tables_reach_as_far_to_either_side():
    mass, escape = np.array([[8.0, 2.0, 1.0], [4.0, 2.0, 9.0]]), np.array([2.0, 8.0])
    tables = Tables.of("y", symmetric_tables("y", mass, escape, np.array([2, 1])))
    assert tables.offset.tolist() == [-2, -1] and tables.length.tolist() == [6, 4]
    share = tables.frequencies / 2**16
    np.testing.assert_allclose(share[0], np.array([1, 2, 8, 2, 1, 2]) / 16, atol=1e-4)
    np.testing.assert_allclose(share[1], np.array([2, 4, 2, 8, 0, 0]) / 16, atol=1e-4)
