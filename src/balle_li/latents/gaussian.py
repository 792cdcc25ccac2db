"""Gaussian priors: likelihoods by a predicted mean and scale, an integer table for each scale, symbols grouped by scale."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.latents.base import Floats, UniformNoise, straight_through
from balle_li.latents.entropy_coder import ByTable, Tables, symmetric_tables

SCALES = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.11, 256.0
TAIL_MASS = 1e-6  # fraction of a distribution outside its table
_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)
_LEAST_LIKELIHOOD = 1e-9
_STEPS_PER_BIT = 0.015  # by which the dead zone grows; docs/experiments.md has what others give
_PSEUDO_COUNT = 50.0  # symbols of a Laplace distribution that every empirical PMF is taken to have seen


def scale_of(index: Tensor) -> Tensor:
    """The scale of an index in [0, SCALES − 1]: from 0.11 to 256, each step 13 % wider (Ballé et al. 2018)."""
    return SMALLEST_SCALE * torch.exp(_STEP * index)


class GaussianConditional(nn.Module):
    """p(u) = Φ((u − mean + ½) / σ) − Φ((u − mean − ½) / σ), Ballé et al. (2018), with means as Minnen et al. (2018).

    σ is given by its scale index, a fraction while training, a whole number in a stream. In training the likelihood is that
    of u plus uniform noise, while the decoder gets u rounded, straight through (Minnen & Singh 2020, "mixed"
    quantization), or with `noisy` u plus the same noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noise = UniformNoise()

    def forward(self, u: Tensor, mean: Tensor, index: Tensor, noisy: bool) -> tuple[Tensor, Tensor]:
        """All `(B, M, h, w)`, fp32, index in [0, SCALES − 1], to (u_hat, likelihoods), fp32 of that shape."""
        residual = u - mean
        if self.training:
            with_noise = residual + self.noise(u)
            distance = with_noise.abs()
            rounded = with_noise if noisy else straight_through(residual)
        else:
            rounded = torch.round(residual)
            distance = rounded.abs()
        root = scale_of(index) * math.sqrt(2)
        likelihoods = 0.5 * (torch.erfc((distance - 0.5) / root) - torch.erfc((distance + 0.5) / root))
        return rounded + mean, likelihoods.clamp_min(_LEAST_LIKELIHOOD)


def gaussian_tables(latent: str) -> dict[str, Tensor]:
    """Tables of whole numbers around 0 under Gaussians of every scale, a row each."""
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    reach = torch.ceil(scales * -torch.special.ndtri(torch.tensor(TAIL_MASS / 2, dtype=torch.float64))).long()
    distances = torch.arange(int(reach.max()) + 1)
    root = scales[:, None] * math.sqrt(2)
    mass = 0.5 * (torch.erfc((distances - 0.5) / root) - torch.erfc((distances + 0.5) / root))
    escape = torch.erfc((reach + 0.5) / root[:, 0])
    return symmetric_tables(latent, mass.numpy(), escape.numpy(), reach.numpy())


def empirical_tables(
    latent: str, coded: Iterable[tuple[NDArray[np.integer], NDArray[np.integer]]]
) -> dict[str, Tensor]:
    """Empirical PMFs, a table for each scale index, of pairs of arrays `(n,)`: the index and the symbol of each position.

    Around their means, symbols are nearer to Laplace distributions than to Gaussians. With its Gaussians, which are of the
    right width, a `balle-li-roi` of 2,500 steps coded Kodak in 1.6 to 2.6 % more bits than with empirical PMFs.
    """
    b = (scale_of(torch.arange(SCALES, dtype=torch.float64)) / math.sqrt(2)).numpy()
    reach = np.ceil(b * -math.log(TAIL_MASS)).astype(np.int64)
    pairs = [(index.astype(np.int64), np.abs(symbol.astype(np.int64))) for index, symbol in coded]
    width = 1 + max([int(reach.max()), *(int(distance.max(initial=0)) for _, distance in pairs)])
    seen = sum(
        (np.bincount(index * width + distance, minlength=SCALES * width) for index, distance in pairs),
        np.zeros(SCALES * width, np.int64),
    ).reshape(SCALES, width)
    distances = np.arange(width)
    mass = seen / np.where(distances == 0, 1, 2) + _PSEUDO_COUNT * _laplace(distances, b[:, None])
    beyond = seen.sum(axis=1, where=distances > reach[:, None])
    return symmetric_tables(latent, mass, beyond + _PSEUDO_COUNT * np.exp(-(reach + 0.5) / b), reach)


def dead_zone(tables: Tables) -> Floats:
    """How far from 0 values are still coded as 0, for each table `(rows,)`: the further the more bits a 1 costs.

    From 0.5 to 1. A value between the two is a little nearer to 1, but the bits buy more elsewhere.
    """
    bits, rows = tables.bits(), np.arange(tables.rows)
    more = bits[rows, np.minimum(1 - tables.offset, tables.length - 1)] - bits[rows, -tables.offset]
    return np.clip(0.5 + _STEPS_PER_BIT * more, 0.5, 1.0).astype(np.float32)


def by_scale(index: NDArray[np.integer], targets: NDArray[np.bool_]) -> ByTable:
    """Symbols grouped by scale, none of table 0. index: tables `(M, rows, columns)`; targets: `(rows, columns)`, the positions
    that count."""
    return ByTable(index, SCALES, (index > 0) & targets)


def _laplace(distance: NDArray[np.int64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability, by a Laplace distribution of scale b, of a value that rounds to `distance`, or to −`distance`."""
    far = np.exp(-(distance + 0.5) / b)
    return np.where(distance == 0, 1 - far, 0.5 * (np.exp(-np.maximum(distance - 0.5, 0) / b) - far))
