import numpy as np
import pytest
import torch

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents.entropy_coder import (
    MAX_ABSOLUTE_SYMBOL,
    Decoder,
    EntropyCoder,
    Tables,
    integer_frequencies,
    symmetric_tables,
    table_tensors,
)


def two_sided(widths, reach):
    symbols = np.arange(-reach, reach + 1)
    pmf = np.array([[*np.exp(-np.abs(symbols) / width), 1e-9] for width in widths])
    length = np.full(len(widths), 2 * reach + 2)
    return Tables(integer_frequencies(pmf, length), np.full(len(widths), -reach, np.int32), length.astype(np.int32), 16)


def test_any_16_bit_values_come_back():
    random = np.random.default_rng(0)
    coder = EntropyCoder(two_sided([0.1, 1.0, 5.0], 20))
    for spread in (0.0, 0.5, 10.0, 1e4):
        for count in (1, 2, 777):
            values = (
                random.laplace(0, spread, (3, count))
                .round()
                .clip(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL)
                .astype(np.int16)
            )
            assert np.array_equal(coder.decode(*coder.encode(values), count), values)


def test_values_beyond_16_bits_are_clipped():
    coder = EntropyCoder(two_sided([1.0], 3))
    values = np.array([[-(10**6), 10**6, 2]])
    (decoded,) = coder.decode(*coder.encode(values), 3)
    assert decoded.tolist() == [-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL, 2]


def test_groups_of_different_lengths_come_back():
    coder = EntropyCoder(two_sided([0.1, 1.0, 5.0, 2.0], 4))
    groups = [np.array([1, 0, 0, 77]), np.empty(0, int), np.array([-9, 2]), np.array([3])]
    decoded = coder.decode(*coder.encode(groups), np.array([4, 0, 2, 1]))
    assert [group.tolist() for group in decoded] == [group.tolist() for group in groups]
    assert [len(bits) for bits in coder.bits(groups)] == [4, 0, 2, 1]


def test_nothing_to_code():
    coder = EntropyCoder(two_sided([1.0], 3))
    assert coder.decode(*coder.encode([np.empty(0, int)]), 0)[0].tolist() == []


def test_parts_come_back_one_after_the_other():
    """The second part is decoded when the first is known: its counts may depend on it."""
    coder = EntropyCoder(two_sided([0.5, 2.0], 4))
    first = [np.array([1, -30, 2]), np.array([4])]
    second = [np.array([0]), np.array([77, -1])]
    decoder = Decoder(coder, *coder.encode(first, second))
    for part, counts in ((first, [3, 1]), (second, [1, 2])):
        decoded = decoder.part(np.array(counts))
        assert [group.tolist() for group in decoded] == [group.tolist() for group in part]
    decoder.finish()


def test_what_is_left_over_is_refused():
    coder = EntropyCoder(two_sided([1.0], 4))
    decoder = Decoder(coder, *coder.encode([np.arange(-4, 5)]))
    decoder.part(8)
    with pytest.raises(BitstreamError, match="do not end"):
        decoder.finish()


def test_the_size_is_what_the_tables_predict():
    random = np.random.default_rng(0)
    widths = np.array([0.2, 0.7, 2.0, 8.0])
    coder = EntropyCoder(two_sided(widths, 60))
    values = random.laplace(0, widths[:, None], (4, 4096)).round().astype(np.int16)
    coded, escaped = coder.encode(values)
    predicted = sum(bits.sum() for bits in coder.bits(values)) / 8
    assert predicted <= len(coded) + len(escaped) < 1.001 * predicted + 6


def test_bits_count_escapes():
    coder = EntropyCoder(two_sided([1.0], 3))
    in_table, beyond = coder.bits(np.array([[0, 2000]]))[0]
    assert beyond > in_table + 16


def test_every_stream_is_at_least_as_long_as_the_decoder_demands():
    """The cheapest values of all, also where the likeliest symbol is the first or the second."""
    rows = [[60000, 5000, 536], [1, 65000, 535], [2, 32768, 32766], [65534, 1, 1], [1, 65534, 1], [1, 1, 65534]]
    frequencies = np.array(rows, np.int32)
    for row in frequencies:
        tables = Tables(row[None], np.zeros(1, np.int32), np.array([3], np.int32), 16)
        coder = EntropyCoder(tables)
        for count in (1, 10, 1000, 100_000):
            values = np.full((1, count), min(int(row.argmax()), 1))
            assert np.array_equal(coder.decode(*coder.encode(values), count), values)


def test_a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_allocated():
    coder = EntropyCoder(two_sided([1.0, 2.0], 20))
    coded, escaped = coder.encode(np.zeros((2, 50), int))
    with pytest.raises(BitstreamError, match="too short"):
        coder.decode(coded, escaped, 2**50)


@pytest.mark.parametrize("count", [49, 51])
def test_another_count_is_refused(count):
    coder = EntropyCoder(two_sided([1.0, 2.0], 20))
    coded, escaped = coder.encode(np.random.default_rng(0).integers(-3, 4, (2, 50)))
    with pytest.raises(BitstreamError):
        coder.decode(coded, escaped, count)


@pytest.mark.parametrize(
    "escaped",
    [b"", b"\x05\x05\x05", b"\x80", b"\x05\x80", b"\xff\xff\xff\xff\xff\xff\x01\x05", b"\xff\xff\xff\xff\x0f\x00"],
)
def test_a_wrong_list_of_escape_values_is_refused(escaped):
    coder = EntropyCoder(two_sided([1.0], 3))
    coded, right = coder.encode(np.array([[9, 0, -9]]))
    assert len(right) == 2
    with pytest.raises(BitstreamError):
        coder.decode(coded, escaped, 3)


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
        (
            dict.fromkeys(("offset", "length"), np.empty(0, np.int32)) | {"frequencies": np.empty((0, 2), np.int32)},
            "no row",
        ),
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
        Tables.of("y", tensors | {"y.length": torch.tensor([3.0, 2.0], dtype=torch.bfloat16)})


def test_symmetric_tables_reach_as_far_to_either_side():
    mass, escape = np.array([[8.0, 2.0, 1.0], [4.0, 2.0, 9.0]]), np.array([2.0, 8.0])
    tables = Tables.of("y", symmetric_tables("y", mass, escape, np.array([2, 1])))
    assert tables.offset.tolist() == [-2, -1] and tables.length.tolist() == [6, 4]
    fraction = tables.frequencies / 2**16
    np.testing.assert_allclose(fraction[0], np.array([1, 2, 8, 2, 1, 2]) / 16, atol=1e-4)
    np.testing.assert_allclose(fraction[1], np.array([2, 4, 2, 8, 0, 0]) / 16, atol=1e-4)
