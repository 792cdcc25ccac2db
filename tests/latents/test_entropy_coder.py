import numpy as np
import pytest

from balle_li.errors import BitstreamError
from balle_li.latents.entropy_coder import Decoder, EntropyCoder
from balle_li.latents.tables import MAX_ABSOLUTE_SYMBOL, Tables, integer_frequencies


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
