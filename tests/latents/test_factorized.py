"""The factorized prior against CompressAI's entropy bottleneck, its tables against its likelihoods, and what is coded."""

from typing import Any

import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents import Section
from balle_li.latents.factorized import MAX_REACH, TAIL_MASS, FactorizedLatents, FactorizedPrior


def trained_prior() -> FactorizedPrior:
    """One whose channels have different places and widths."""
    torch.manual_seed(1)
    prior = FactorizedPrior(4)
    with torch.no_grad():
        prior.matrices[0] += torch.tensor([0.0, 1.0, 2.0, 3.0]).view(4, 1, 1)
        prior.biases[0] += torch.tensor([-3.0, 0.0, 2.0, 8.0]).view(4, 1, 1)
        for factor in prior.factors:
            factor.uniform_(-0.5, 0.5)
    return prior


def compressais(prior: FactorizedPrior) -> EntropyBottleneck:
    """CompressAI's, with the same parameters and medians."""
    theirs = EntropyBottleneck(prior.channels)
    missing, unexpected = theirs.load_state_dict(prior.state_dict(), strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing}.isdisjoint({"matrices", "biases", "factors"})
    theirs.quantiles.data[:, 0, 1] = prior.median
    return theirs


@pytest.fixture
def priors() -> tuple[EntropyBottleneck, FactorizedPrior]:
    ours = trained_prior()
    ours.set_median("y", {"y.median": torch.linspace(-0.4, 0.4, 4)})
    return compressais(ours), ours


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


def test_the_prior_starts_as_compressais():
    torch.manual_seed(0)
    theirs = EntropyBottleneck(5)
    torch.manual_seed(0)
    for name, value in FactorizedPrior(5).state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])


def test_the_prior_is_compressais_in_evaluation(priors):
    theirs, ours = (prior.eval() for prior in priors)
    y = 8 * torch.randn(3, 4, 4, 6)
    for got, expected in zip(ours(y), theirs(y), strict=True):
        torch.testing.assert_close(got, expected)


def test_the_prior_is_compressais_in_training(priors):
    theirs, ours = priors
    noisy, likelihoods = ours(y := 8 * torch.randn(3, 4, 4, 6))
    assert 0.4 < (noisy - y).abs().max() <= 0.5
    expected, _, _ = theirs._likelihood(noisy.detach().transpose(0, 1).reshape(4, 1, -1))
    expected = theirs.likelihood_lower_bound(expected)
    torch.testing.assert_close(likelihoods.transpose(0, 1).reshape(4, 1, -1), expected)
    likelihoods.log2().sum().backward()
    expected.log2().sum().backward()
    assert len(gradients(ours)) == 14
    for name, gradient in gradients(ours).items():
        torch.testing.assert_close(gradient, gradients(theirs)[name], rtol=1e-4, atol=1e-4)


def test_the_prior_stays_in_fp32_under_autocast(priors):
    _, ours = priors
    with torch.autocast("cpu", torch.bfloat16):
        outputs, likelihoods = ours(torch.randn(1, 4, 4, 4).bfloat16())
    assert outputs.dtype == likelihoods.dtype == torch.float32


def test_likelihoods_far_out_are_bounded_and_only_lead_back(priors):
    _, ours = priors
    y = torch.full((1, 4, 2, 2), 1e6, requires_grad=True)
    _, likelihoods = ours(y)
    assert float(likelihoods.detach().min()) == pytest.approx(1e-9)
    likelihoods.log2().sum().backward()
    assert y.grad.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(ours).values())


def test_processes_together_draw_the_noise_of_one(priors):
    _, ours = priors
    y = torch.zeros(4, 4, 2, 2)
    torch.manual_seed(7)
    whole, _ = ours(y)
    for rank in (0, 1):
        ours.noise.process = (rank, 2)
        torch.manual_seed(7)
        part, _ = ours(y[2 * rank : 2 * rank + 2])
        assert torch.equal(part, whole[2 * rank : 2 * rank + 2])


def test_medians_are_compressais():
    ours = trained_prior()
    theirs = compressais(ours)
    theirs.update(force=True, update_quantiles=True)
    medians = ours.tables("y")["y.median"]
    assert medians.std() > 1
    np.testing.assert_allclose(medians, theirs.quantiles[:, 0, 1].detach(), atol=2e-3)


def test_tables_are_the_priors_probabilities():
    prior = trained_prior()
    tables = prior.tables("y")
    theirs = compressais(prior)
    for channel in range(4):
        offset, length = int(tables["y.offset"][channel]), int(tables["y.length"][channel])
        symbols = torch.arange(offset, offset + length - 1)
        values = torch.zeros(4, 1, len(symbols)) + symbols + tables["y.median"].view(4, 1, 1)
        expected = theirs._likelihood(values)[0][channel, 0].detach()
        row = tables["y.frequencies"][channel]
        np.testing.assert_allclose(row[: length - 1] / 2**16, expected, atol=(length + 2) * 2**-16)
        assert 1 - float(expected.sum()) <= TAIL_MASS + 1e-5
        assert int(row[length - 1]) >= 1 and int(row.sum()) == 2**16


def test_a_median_may_be_brought_to_a_grid():
    prior = trained_prior()
    fine, coarse = prior.tables("z"), prior.tables("z", median_step=1 / 256)
    assert torch.equal(256 * coarse["z.median"], (256 * fine["z.median"]).round())
    assert not torch.equal(fine["z.median"], coarse["z.median"])


def test_a_very_wide_channel_is_left_to_the_escape():
    prior = FactorizedPrior(2)
    with torch.no_grad():
        prior.matrices[0] -= 5.0  # flat: values in the thousands are likely
    tables = prior.tables("y")
    assert tables["y.length"].tolist() == [2 * MAX_REACH + 2] * 2
    assert all(int(tables["y.frequencies"][channel, -1]) > 2**12 for channel in (0, 1))


def coded_latents() -> tuple[FactorizedLatents, dict[str, Tensor]]:
    latents = FactorizedLatents(4).eval()
    latents.prior = trained_prior().eval()
    return latents, latents.make_tables([])


def random_latents(latents: FactorizedLatents, spread: float = 3.0) -> Any:
    noise = np.random.default_rng(0).normal(0, spread, (4, 7, 5)).astype(np.float32)
    return noise + latents.prior.median.numpy()[:, None, None]


@pytest.mark.parametrize("spread", [0.1, 3.0, 300.0, 1e5])
def test_what_is_encoded_is_decoded(spread):
    latents, _ = coded_latents()
    prepared = latents.prepare(y := random_latents(latents, spread), None)
    sections = latents.encode(prepared)
    assert list(sections)[-1] == Section.LATENTS and (Section.LATENTS_ESCAPED in sections) == (spread > 100)
    decoded = latents.decode(sections, 7, 5)
    assert decoded.symbols.dtype == np.int16 and np.array_equal(decoded.symbols, prepared.symbols())
    assert decoded.values.dtype == np.float32
    np.testing.assert_allclose(decoded.values, (decoded.symbols + prepared.mean) * prepared.gain, atol=1e-6)
    if spread < 1e4:
        assert np.abs(decoded.values - y).max() <= 0.5001


def test_the_codec_sees_what_the_model_in_evaluation_does():
    latents, _ = coded_latents()
    y = random_latents(latents)
    prepared = latents.prepare(y, None)
    with torch.no_grad():
        output = latents(torch.from_numpy(y)[None], None)
    np.testing.assert_allclose(latents.decode(latents.encode(prepared), 7, 5).values, output.y_hat[0], atol=1e-5)
    bits = -output.likelihoods["y"][0].log2().sum(dim=0).numpy()
    np.testing.assert_allclose(latents.bits(prepared), bits, rtol=0.02, atol=0.05)
    assert latents.bits(prepared).sum() / 8 < sum(map(len, latents.encode(prepared).values())) + 5


def test_requantized_latents_have_the_same_tables_and_mean():
    latents, _ = coded_latents()
    prepared = latents.prepare(random_latents(latents), None)
    moved = latents.requantized(prepared, prepared.residual + prepared.mean + 2)
    assert np.array_equal(moved.symbols(), prepared.symbols() + 2)
    assert np.array_equal(moved.table, prepared.table) and np.array_equal(moved.mean, prepared.mean)


def test_tables_from_outside_code_alike_and_move_the_rounding():
    latents, tables = coded_latents()
    again = FactorizedLatents(4).eval()
    y = random_latents(latents)
    with pytest.raises(AttributeError):
        again.encode(again.prepare(y, None))
    again.set_tables(tables)
    assert again.encode(again.prepare(y, None)) == latents.encode(latents.prepare(y, None))
    assert torch.equal(again.prior.median, tables["y.median"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y.median": None}, r"tables\.y\.median must be float32 \(4,\)"),
        ({"y.median": torch.zeros(3)}, r"tables\.y\.median must be"),
        ({"y.median": torch.zeros(4).double()}, r"tables\.y\.median must be"),
        ({"y.median": torch.full((4,), torch.nan)}, "not finite"),
        ({"y.offset": None}, r"tables\.y\.offset is missing"),
        ({"y.frequencies": torch.zeros(4, 3).int()}, r"tables\.y"),
    ],
)
def test_tables_that_do_not_fit_are_refused(change, words):
    latents, tables = coded_latents()
    changed = {name: tensor for name, tensor in (tables | change).items() if tensor is not None}
    with pytest.raises(BalleLiError, match=words):
        latents.set_tables(changed)


def test_tables_of_another_number_of_channels_are_refused():
    _, tables = coded_latents()
    with pytest.raises(BalleLiError, match="has 4 rows, but the latent has 5 channels"):
        FactorizedLatents(5).set_tables(tables)


def test_weights_that_are_no_numbers_have_no_tables():
    latents, _ = coded_latents()
    with torch.no_grad():
        latents.prior.biases[-1].fill_(torch.nan)
    with pytest.raises(BalleLiError):
        latents.make_tables([])


def test_a_stream_without_latents_is_refused():
    latents, _ = coded_latents()
    with pytest.raises(BitstreamError, match="no latents"):
        latents.decode({Section.LATENTS_ESCAPED: b""}, 7, 5)
