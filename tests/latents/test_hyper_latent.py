"""The hyper-latent: what is coded is decoded, tables are counted by what came before, and what repeats costs little."""

import numpy as np
import pytest
import torch

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents.factorized import FactorizedPrior
from balle_li.latents.hyper_latent import (
    CLASSES,
    REACH,
    HyperLatentCoder,
    hyper_latent_tables,
    parts_of,
    tables_of,
    with_quiet,
)

CHANNELS = 3
SETTLED = 2 * REACH + 1


@pytest.fixture
def prior() -> FactorizedPrior:
    torch.manual_seed(0)
    return FactorizedPrior(CHANNELS)


def walk(rows: int = 40, columns: int = 30, seed: int = 0) -> np.ndarray:
    """Values that stay near the one above them, and wander far."""
    steps = np.random.default_rng(seed).integers(-1, 2, (CHANNELS, rows, columns))
    return steps.cumsum(axis=1).astype(np.int16)


def quiet_places(rows: int = 40, columns: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, columns)) < 0.3


def coder(prior: FactorizedPrior, *counted: np.ndarray) -> HyperLatentCoder:
    return HyperLatentCoder(prior, hyper_latent_tables(prior.tables("z"), counted))


def counted() -> np.ndarray:
    return with_quiet(walk(), quiet_places())


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (12, 5)])
@pytest.mark.parametrize("seen", [(), (counted(),)])
def test_what_is_encoded_is_decoded(prior, shape, seen):
    z, quiet = 40 * walk(*shape, seed=1), quiet_places(*shape, seed=1)  # beyond the tables too
    own = coder(prior, *seen)
    coded, escaped = own.encode(z, quiet)
    for expected, got in zip((z, quiet), own.decode(coded, escaped, *shape), strict=True):
        assert got.dtype == expected.dtype and np.array_equal(got, expected)
    bits = own.bits(z, quiet)
    assert bits.shape == shape and abs(float(bits.sum()) - 8 * len(coded + escaped)) < 0.05 * bits.sum() + 64
    with pytest.raises(BitstreamError):
        own.decode(coded, escaped, shape[0] + 1, shape[1])


def test_every_position_lies_in_one_part():
    seen = np.zeros((3, 4), int)
    for part in parts_of(3, 4):
        seen[part] += 1
    assert (seen == 1).all()


def test_the_value_above_and_its_neighbours_decide_the_table():
    z = np.array([[[0, 3, 3, 3, -20]], [[50, 50, 50, -8, -8]], [[0, 0, 0, 0, 0]]], np.int16).repeat(2, axis=1)
    own = [[REACH, REACH + 3, SETTLED + REACH + 3, REACH + 3, 0], [SETTLED + 2 * REACH] * 2 + [2 * REACH, 0, SETTLED]]
    assert tables_of(z, (1, slice(0, 5)))[:2].tolist() == [own[0], [CLASSES + table for table in own[1]]]


def test_in_the_first_row_those_to_the_left_decide_it():
    z = np.array([[[5, 5, 6, 0]], [[1, 2, 2, 2]], [[0, 0, 1, 1]]], np.int16)
    found = [tables_of(z, (0, slice(column, column + 1)))[:2, 0] - [0, CLASSES] for column in range(4)]
    assert np.array_equal(found[0], [CLASSES - 1] * 2)
    assert np.array_equal(found[1], [2 * SETTLED + REACH + 5, 2 * SETTLED + REACH + 1])
    assert np.array_equal(found[2], [SETTLED + REACH + 5, REACH + 2])
    assert np.array_equal(found[3], [REACH + 6, SETTLED + REACH + 2])


def test_where_all_of_z_is_settled_the_tables_are_others():
    still, row = np.full((3, 2, 3), 4, np.int16), (1, slice(0, 3))
    still[2, 0] = 0, 0, 1  # quiet does not count
    four = REACH + 4
    assert (tables_of(still, row)[:2] == [[2 * SETTLED + four], [CLASSES + 2 * SETTLED + four]]).all()
    assert (tables_of(still, row)[2] - 2 * CLASSES == [2 * SETTLED + REACH, SETTLED + REACH, SETTLED + REACH + 1]).all()
    still[1, 0, 2] = 0
    assert tables_of(still, row)[0].tolist() == [2 * SETTLED + four, SETTLED + four, SETTLED + four]


def test_counting_shortens_what_follows_from_the_value_above(prior):
    z, quiet = walk(seed=2), quiet_places()
    uncounted, by_class = (float(coder(prior, *seen).bits(z, quiet).sum()) for seen in ((), (counted(),)))
    shuffled = with_quiet(np.random.default_rng(0).permuted(walk(), axis=1), quiet_places())
    by_channel = float(coder(prior, shuffled).bits(z, quiet).sum())
    assert by_class < 0.7 * by_channel and by_channel < uncounted


def test_what_repeats_everywhere_costs_next_to_nothing(prior):
    still = with_quiet(np.full((CHANNELS, 40, 30), 2, np.int16), np.ones((40, 30), bool))
    costs = coder(prior, counted(), still).bits(still[:-1], still[-1] != 0)
    assert costs.mean() < 0.1 * coder(prior, counted()).bits(still[:-1], still[-1] != 0).mean()


def test_tables_of_another_number_of_channels_are_refused(prior):
    tables = hyper_latent_tables(FactorizedPrior(2).tables("z"), [])
    with pytest.raises(BalleLiError, match=f"tables.z has {3 * CLASSES} rows, must have {4 * CLASSES}"):
        HyperLatentCoder(prior, tables)
