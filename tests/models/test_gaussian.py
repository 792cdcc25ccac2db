import pytest
import torch

from balle_li.models.gaussian import LARGEST_SCALE, SCALES, SMALLEST_SCALE, BoundedIndex, GaussianConditional, scale_of


def test_the_table_of_scales():
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    assert scales[0] == pytest.approx(SMALLEST_SCALE)
    assert scales[-1] == pytest.approx(LARGEST_SCALE)
    steps = scales[1:] / scales[:-1]
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))


def test_likelihoods_of_whole_numbers_add_up_to_one():
    conditional = GaussianConditional().eval()
    u = torch.arange(-40.0, 41.0).view(1, 1, 1, -1) + 0.3
    _, likelihoods = conditional(u, torch.full_like(u, 0.3), torch.full_like(u, 20.0))
    assert float(likelihoods.sum()) == pytest.approx(1, abs=1e-5)
    normal = torch.distributions.Normal(0.0, scale_of(torch.tensor(20.0)))
    assert float(likelihoods[0, 0, 0, 40]) == pytest.approx(
        float(normal.cdf(torch.tensor(0.5)) - normal.cdf(torch.tensor(-0.5))), rel=1e-4
    )


def test_rounds_around_the_mean():
    u, mean = torch.tensor([1.4, 1.4, -2.2]).view(1, 3, 1, 1), torch.tensor([0.0, 0.3, 0.25]).view(1, 3, 1, 1)
    u_hat, _ = GaussianConditional().eval()(u, mean, torch.full_like(u, 20.0))
    torch.testing.assert_close(u_hat.flatten(), torch.tensor([1.0, 1.3, -1.75]))


def test_in_training_the_decoder_gets_rounded_values_and_the_gradient_passes_straight():
    u = torch.randn(2, 3, 4, 4, requires_grad=True)
    mean = torch.randn(2, 3, 4, 4, requires_grad=True)
    u_hat, likelihoods = GaussianConditional().train()(u, mean, torch.full_like(u, 20.0))
    torch.testing.assert_close(u_hat, torch.round(u - mean) + mean)
    u_hat.sum().backward(retain_graph=True)
    torch.testing.assert_close(u.grad, torch.ones_like(u))
    again = GaussianConditional().train()(u, mean, torch.full_like(u, 20.0))[1]
    assert not torch.equal(likelihoods, again)  # the noise is another


def test_soft_the_decoder_gets_the_noise_that_the_likelihood_is_of():
    u, index = torch.full((1, 1, 20, 20), 0.2), torch.full((1, 1, 20, 20), 20.0)
    conditional = GaussianConditional().train()
    conditional.soft = True
    u_hat, likelihoods = conditional(u, torch.zeros_like(u), index)
    assert (u_hat - u).abs().max() <= 0.5 and u_hat.std() > 0.2
    order = u_hat.abs().flatten().argsort()
    assert (likelihoods.flatten()[order].diff() <= 1e-6).all()
    assert torch.equal(conditional.eval()(u, torch.zeros_like(u), index)[0], torch.zeros_like(u))


def test_a_bounded_index_can_come_back_but_not_leave():
    index = torch.tensor([-3.0, -3.0, 10.0, 90.0, 90.0], requires_grad=True)
    bounded = BoundedIndex.apply(index)
    assert bounded.tolist() == [0, 0, 10, SCALES - 1, SCALES - 1]
    bounded.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))  # a step goes against the gradient
    assert index.grad.tolist() == [0, -1, 1, 1, 0]
