import math

import numpy as np
import pytest
import torch
from table_checks import check_tables_of_scales

from balle_li.latents.base import bounded
from balle_li.latents.entropy_coder import EntropyCoder, Tables
from balle_li.latents.gaussian import (
    LARGEST_SCALE,
    SCALES,
    SMALLEST_SCALE,
    TAIL_MASS,
    GaussianConditional,
    dead_zone,
    empirical_tables,
    gaussian_tables,
    scale_of,
)


def test_the_table_of_scales():
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    assert scales[0] == pytest.approx(SMALLEST_SCALE)
    assert scales[-1] == pytest.approx(LARGEST_SCALE)
    steps = scales[1:] / scales[:-1]
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))


def test_likelihoods_of_whole_numbers_add_up_to_one():
    conditional = GaussianConditional().eval()
    u = torch.arange(-40.0, 41.0).view(1, 1, 1, -1) + 0.3
    _, likelihoods = conditional(u, torch.full_like(u, 0.3), torch.full_like(u, 20.0), False)
    assert float(likelihoods.sum()) == pytest.approx(1, abs=1e-5)
    normal = torch.distributions.Normal(0.0, scale_of(torch.tensor(20.0)))
    assert float(likelihoods[0, 0, 0, 40]) == pytest.approx(
        float(normal.cdf(torch.tensor(0.5)) - normal.cdf(torch.tensor(-0.5))), rel=1e-4
    )


def test_rounds_around_the_mean():
    u, mean = torch.tensor([1.4, 1.4, -2.2]).view(1, 3, 1, 1), torch.tensor([0.0, 0.3, 0.25]).view(1, 3, 1, 1)
    u_hat, _ = GaussianConditional().eval()(u, mean, torch.full_like(u, 20.0), False)
    torch.testing.assert_close(u_hat.flatten(), torch.tensor([1.0, 1.3, -1.75]))


def test_in_training_the_decoder_gets_rounded_values_and_the_gradient_passes_straight():
    u = torch.randn(2, 3, 4, 4, requires_grad=True)
    mean = torch.randn(2, 3, 4, 4, requires_grad=True)
    u_hat, likelihoods = GaussianConditional().train()(u, mean, torch.full_like(u, 20.0), False)
    torch.testing.assert_close(u_hat, torch.round(u - mean) + mean)
    u_hat.sum().backward(retain_graph=True)
    torch.testing.assert_close(u.grad, torch.ones_like(u))
    again = GaussianConditional().train()(u, mean, torch.full_like(u, 20.0), False)[1]
    assert not torch.equal(likelihoods, again)  # the noise is another


def test_a_noisy_decoder_gets_the_noise_that_the_likelihood_is_of():
    u, index = torch.full((1, 1, 20, 20), 0.2), torch.full((1, 1, 20, 20), 20.0)
    conditional = GaussianConditional().train()
    u_hat, likelihoods = conditional(u, torch.zeros_like(u), index, True)
    assert (u_hat - u).abs().max() <= 0.5 and u_hat.std() > 0.2
    order = u_hat.abs().flatten().argsort()
    assert (likelihoods.flatten()[order].diff() <= 1e-6).all()
    assert torch.equal(conditional.eval()(u, torch.zeros_like(u), index, True)[0], torch.zeros_like(u))


def test_a_bounded_index_can_come_back_but_not_leave():
    index = torch.tensor([-3.0, -3.0, 10.0, 90.0, 90.0], requires_grad=True)
    clamped = bounded(index, 0, SCALES - 1)
    assert clamped.tolist() == [0, 0, 10, SCALES - 1, SCALES - 1]
    clamped.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))  # a step goes against the gradient
    assert index.grad.tolist() == [0, -1, 1, 1, 0]


def test_gaussian_tables_are_the_gaussians():
    tables = Tables.of("y", gaussian_tables("y"))
    assert tables.rows == SCALES
    for row in (1, 20, 40, SCALES - 1):
        length = tables.length[row]
        values = torch.arange(length - 1) + tables.offset[row]
        normal = torch.distributions.Normal(0.0, scale_of(torch.tensor(row, dtype=torch.float64)))
        expected = normal.cdf(values.double() + 0.5) - normal.cdf(values.double() - 0.5)
        got = tables.frequencies[row, : length - 1] / 2**16
        np.testing.assert_allclose(got, expected, atol=(length + 2) * 2**-16)
        assert 1 - float(expected.sum()) < TAIL_MASS


def laplacian_symbols(count: int = 4000) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of scale indices and symbols that are Laplace distributed around their means, with the index's scale."""
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        index = random.choice([3, 20, 30], count)
        b = scale_of(torch.from_numpy(index).double()).numpy() / math.sqrt(2)
        pairs.append((index.astype(np.uint8), random.laplace(0, b).round().astype(np.int16)))
    return pairs


@pytest.mark.parametrize("coded", [[], laplacian_symbols()], ids=["nothing seen", "some seen"])
def test_empirical_rows_are_symmetric_wider_with_each_scale_and_cover_what_was_never_seen(coded):
    check_tables_of_scales(EntropyCoder(Tables.of("y", empirical_tables("y", coded))))


def test_empirical_rows_are_shares_of_what_was_seen():
    index = np.full(100_000, 25, np.uint8)
    symbols = np.repeat(np.array([0, 1, -1, 2, 3, 4], np.int16), [70_000, 9_000, 11_000, 6_000, 4_000, 0])
    symbols = np.concatenate((symbols, [30_000] * 0)).astype(np.int16)
    tables = Tables.of("y", empirical_tables("y", [(index, symbols)]))
    row, zero = tables.frequencies[25] / 2**16, -tables.offset[25]
    np.testing.assert_allclose(row[zero : zero + 4], [0.7, 0.1, 0.03, 0.02], atol=1e-3)
    np.testing.assert_allclose(row[zero - 3 : zero], [0.02, 0.03, 0.1], atol=1e-3)
    untouched = Tables.of("y", empirical_tables("y", []))
    others = np.arange(SCALES) != 25
    width = untouched.frequencies.shape[1]
    assert np.array_equal(tables.frequencies[others, :width], untouched.frequencies[others])


def test_what_lies_beyond_the_table_counts_as_escape():
    index, symbols = np.full(1000, 10, np.uint8), np.repeat(np.array([0, -700], np.int16), [750, 250])
    tables = Tables.of("y", empirical_tables("y", [(index, symbols)]))
    escape = tables.frequencies[10, tables.length[10] - 1] / 2**16
    assert escape == pytest.approx(250 / 1050, abs=0.001)


def test_empirical_tables_take_fewer_bits_for_what_they_were_counted_on():
    counted, sizes = laplacian_symbols(), []
    for tensors in (gaussian_tables("y"), empirical_tables("y", counted)):
        coder = EntropyCoder(Tables.of("y", tensors))
        index, symbols = counted[0]
        groups = [symbols[index == row] for row in range(SCALES)]
        sizes.append(sum(map(len, coder.encode(groups))))
    assert sizes[1] < 0.98 * sizes[0]


def test_the_dead_zone_grows_with_what_a_one_costs():
    zone = dead_zone(Tables.of("y", gaussian_tables("y")))
    assert zone.dtype == np.float32 and zone.shape == (SCALES,)
    assert (np.diff(zone) < 1e-4).all() and 0.65 < zone[0] < 0.8 and zone[-1] == pytest.approx(0.5, abs=1e-3)
