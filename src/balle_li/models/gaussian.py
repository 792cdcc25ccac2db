"""Latents coded as Gaussians whose mean and scale the decoder knows beforehand."""

import math

import torch
from torch import Tensor, nn

from balle_li.models.noise import uniform_noise

SCALES = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.11, 256.0
_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)
_LEAST_LIKELIHOOD = 1e-9


def scale_of(index: Tensor) -> Tensor:
    """The scale at a place of the table, in [0, SCALES − 1]: from 0.11 to 256, each step 13 % wider (Ballé et al. 2018)."""
    return SMALLEST_SCALE * torch.exp(_STEP * index)


def straight_through(values: Tensor) -> Tensor:
    """`values` rounded; the gradient passes as if they were not."""
    return values + (torch.round(values) - values).detach()


class GaussianConditional(nn.Module):
    """p(u) = Φ((u − mean + ½) / σ) − Φ((u − mean − ½) / σ), Ballé et al. (2018), with means as Minnen et al. (2018).

    σ is given by its place in a table, `index`; between two places while training, at one in a stream. In training the
    likelihood is that of u plus uniform noise, while the decoder gets u rounded, its gradient passed straight through
    (Minnen & Singh 2020, "mixed" quantization), or where `soft` is set u plus the same noise. `batch_share`: as of
    `EntropyBottleneck`.
    """

    batch_share: tuple[int, int] = (0, 1)
    soft = False

    def forward(self, u: Tensor, mean: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """All `(B, M, h, w)`, fp32, index in [0, SCALES − 1], to (u_hat, likelihoods), fp32 of that shape."""
        centred = u - mean
        if self.training:
            noisy = centred + uniform_noise(u, self.batch_share)
            distance = noisy.abs()
            rounded = noisy if self.soft else straight_through(centred)
        else:
            rounded = torch.round(centred)
            distance = rounded.abs()
        root = scale_of(index) * math.sqrt(2)
        likelihoods = 0.5 * (torch.erfc((distance - 0.5) / root) - torch.erfc((distance + 0.5) / root))
        return rounded + mean, likelihoods.clamp_min(_LEAST_LIKELIHOOD)


class BoundedIndex(torch.autograd.Function):
    """Clamps to [0, SCALES − 1]; outside, only gradients that lead back inside pass."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return index.clamp(0, SCALES - 1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (index,) = ctx.saved_tensors  # type: ignore[attr-defined]
        leads_out = ((index < 0) & (gradient > 0)) | ((index > SCALES - 1) & (gradient < 0))
        return gradient.masked_fill(leads_out, 0)
