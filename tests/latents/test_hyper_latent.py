"""The hyper-latent: what is coded is decoded, tables are counted by the value above, and what repeats costs little."""

import numpy as np
import pytest
import torch

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents.factorized import FactorizedPrior
from balle_li.latents.hyper_latent import CLASSES, REACH, HyperLatentCoder, hyper_latent_tables, tables_of

CHANNELS = 3


@pytest.fixture
def prior() -> FactorizedPrior:
    torch.manual_seed(0)
    return FactorizedPrior(CHANNELS)


def walk(rows: int = 40, columns: int = 30, seed: int = 0) -> np.ndarray:
    """Values that stay near the one above them, and wander far."""
    steps = np.random.default_rng(seed).integers(-1, 2, (CHANNELS, rows, columns))
    return steps.cumsum(axis=1).astype(np.int16)


def coder(prior: FactorizedPrior, *counted: np.ndarray) -> HyperLatentCoder:
    return HyperLatentCoder(prior, hyper_latent_tables(prior.tables("z"), counted))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (12, 5)])
@pytest.mark.parametrize("counted", [(), (walk(),)])
def test_what_is_encoded_is_decoded(prior, shape, counted):
    z = 40 * walk(*shape, seed=1)  # beyond the tables too
    own = coder(prior, *counted)
    coded, escaped = own.encode(z)
    assert np.array_equal(own.decode(coded, escaped, *shape), z)
    bits = own.bits(z)
    assert bits.shape == shape and abs(float(bits.sum()) - 8 * len(coded + escaped)) < 0.05 * bits.sum() + 64
    with pytest.raises(BitstreamError):
        own.decode(coded, escaped, shape[0] + 1, shape[1])


def test_the_value_above_decides_the_table():
    z = np.array([[[0, 3, -20]], [[50, -8, 1]]], np.int16).repeat(2, axis=1)
    assert (tables_of(z, 0) == [[CLASSES - 1], [2 * CLASSES - 1]]).all()
    own = [[REACH, REACH + 3, 0], [2 * REACH, 0, REACH + 1]]
    assert tables_of(z, 1).tolist() == [own[0], [CLASSES + table for table in own[1]]]


def test_counting_shortens_what_follows_from_the_value_above(prior):
    z = walk(seed=2)
    uncounted, counted = (float(coder(prior, *seen).bits(z).sum()) for seen in ((), (walk(),)))
    shuffled = np.random.default_rng(0).permuted(walk(), axis=1)
    by_channel = float(coder(prior, shuffled).bits(z).sum())
    assert counted < 0.7 * by_channel and by_channel < uncounted


def test_tables_of_another_number_of_channels_are_refused(prior):
    tables = hyper_latent_tables(FactorizedPrior(2).tables("z"), [])
    with pytest.raises(BalleLiError, match=f"tables.z has {2 * CLASSES} rows, must have {3 * CLASSES}"):
        HyperLatentCoder(prior, tables)
