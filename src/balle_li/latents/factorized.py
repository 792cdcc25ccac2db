"""Latents whose channels have a distribution each, the same at every position."""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.errors import BalleLiError
from balle_li.latents import Section, Sections, needed, present
from balle_li.latents.base import Decoded, Floats, LatentCodec, LatentOutput, Prepared, UniformNoise, bounded
from balle_li.latents.entropy_coder import EntropyCoder, Tables, table_tensors
from balle_li.quality_map import Levels

TAIL_MASS = 1e-6  # fraction of a latent's values, by the model, outside its table
MAX_REACH = 1024  # a table's symbols lie at most so far from the median
_WIDTHS = (1, 3, 3, 3, 3, 1)  # of the network that is the cumulative
_FIRST_SPREAD = 10.0  # of the distribution, roughly
_LEAST_LIKELIHOOD = 1e-9
_SEARCH_RADIUS = 1e5  # of the bisection for medians and tails


class FactorizedPrior(nn.Module):
    """Each channel's cumulative c(v) is a small monotonic network; p(v) = c(v + ½) − c(v − ½).

    Ballé et al. (2018), "Variational image compression with a scale hyperprior", appendix 6.1, with their widths and first
    values. In training v is y plus uniform noise in [−½, ½); else y rounded around `median` `(C,)`, which is 0 until
    there are tables. Always fp32.
    """

    median: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        spread = _FIRST_SPREAD ** (1 / (len(_WIDTHS) - 1))
        for number, (inputs, outputs) in enumerate(pairwise(_WIDTHS)):
            first = math.log(math.expm1(1 / spread / outputs))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), first)))
            self.biases.append(nn.Parameter(torch.empty(channels, outputs, 1).uniform_(-0.5, 0.5)))
            if number < len(_WIDTHS) - 2:
                self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))
        self.noise = UniformNoise()
        self.register_buffer("median", torch.zeros(channels), persistent=False)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y `(B, C, h, w)` to y with noise or rounded, and its likelihoods; both fp32 of that shape."""
        with torch.autocast(y.device.type, enabled=False):
            y = y.float()
            batch, channels, *sides = y.shape
            if self.training:
                outputs = y + self.noise(y)
            else:
                median = self.median.view(1, channels, 1, 1)
                outputs = torch.round(y - median) + median
            values = outputs.transpose(0, 1).reshape(channels, 1, -1)
            ends = self.cumulative_logits(torch.cat((values - 0.5, values + 0.5), dim=2))
            lower, upper = torch.sigmoid(ends).chunk(2, dim=2)
            likelihoods = bounded(upper - lower, _LEAST_LIKELIHOOD)
            return outputs, likelihoods.view(channels, batch, *sides).transpose(0, 1)

    def cumulative_logits(self, values: Tensor) -> Tensor:
        """`(C, 1, n)` values to the logits of their cumulatives, `(C, 1, n)`."""
        logits = values
        for index, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            logits = torch.baddbmm(bias, F.softplus(matrix), logits)
            if index < len(self.factors):
                logits = torch.addcmul(logits, torch.tanh(self.factors[index]), torch.tanh(logits))
        return logits

    @torch.no_grad()
    def tables(self, latent: str, median_step: float | None = None) -> dict[str, Tensor]:
        """Tables of the symbols round(y − median), a row per channel, and `<latent>.median` float32 `(C,)`.

        Worked out in float64. The range of a row leaves TAIL_MASS to both sides together; it and the median come from
        bisection of the cumulative. With a `median_step` the median is brought to its nearest multiple.

        Raises BalleLiError: a weight is not finite.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.parameters()):
            raise BalleLiError(f"the prior of {latent} holds a number that is not finite; the training diverged")
        exact = copy.deepcopy(self).cpu().double()
        tail = math.log(2 / TAIL_MASS - 1)
        low, median, high = (exact._quantile(logit) for logit in (-tail, 0.0, tail))
        if median_step is not None:
            median = torch.round(median / median_step) * median_step
        median = median.float().double()  # the codec's, in fp32
        below = (median - low).ceil().clamp(0, MAX_REACH).long()
        above = (high - median).ceil().clamp(0, MAX_REACH).long()
        last = below + above
        symbols = torch.arange(int(last.max()) + 1)
        values = (symbols - below[:, None] + median[:, None])[:, None]  # (C, 1, L)
        lower, upper = (exact.cumulative_logits(values + side)[:, 0] for side in (-0.5, 0.5))
        # Of the two equal forms of the difference, the one of small numbers: it keeps the upper tail from vanishing.
        sign = torch.where(lower + upper > 0, -1.0, 1.0)
        mass = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        rows = torch.arange(self.channels)
        pmf = torch.zeros(self.channels, len(symbols) + 1, dtype=torch.float64)
        pmf[:, :-1] = torch.where(symbols <= last[:, None], mass, 0.0)
        pmf[rows, last + 1] = torch.sigmoid(lower[:, 0]) + torch.sigmoid(-upper[rows, last])
        tables = table_tensors(latent, pmf.numpy(), -below.numpy(), last.numpy() + 2)
        return tables | {f"{latent}.median": median.float()}

    def set_median(self, latent: str, tables: Mapping[str, Tensor]) -> None:
        """Round around `<latent>.median`. Raises BalleLiError: it is missing, or not a number for each channel."""
        median = tables.get(f"{latent}.median")
        if median is None or median.dtype != torch.float32 or median.shape != (self.channels,):
            raise BalleLiError(f"tables.{latent}.median must be float32 ({self.channels},)")
        if not bool(median.isfinite().all()):
            raise BalleLiError(f"tables.{latent}.median holds a number that is not finite; the training diverged")
        self.median = median.to(self.median.device)

    def _quantile(self, logit: float) -> Tensor:
        """Where the cumulative has this logit, `(C,)`, to a thousandth."""
        high = torch.full((self.channels, 1, 1), _SEARCH_RADIUS, dtype=torch.float64)
        low = -high
        while not torch.isclose(low, high, rtol=1e-4, atol=1e-3).all():
            middle = (low + high) / 2
            found = self.cumulative_logits(middle)
            low, high = torch.where(found <= logit, middle, low), torch.where(found >= logit, middle, high)
        return ((low + high) / 2)[:, 0, 0]


class FactorizedLatents(LatentCodec):
    """Every channel of y has a table of its own: the entropy bottleneck of Ballé et al. (2017, 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.prior = FactorizedPrior(channels)

    def forward(self, y: Tensor, r: Tensor | None) -> LatentOutput:
        y_hat, likelihoods = self.prior(y)
        return LatentOutput(y_hat, {"y": likelihoods}, None)

    def make_tables(self, latents: Iterable[tuple[Floats, Levels]]) -> dict[str, Tensor]:
        tables = self.prior.tables("y")
        self.set_tables(tables)
        return tables

    def set_tables(self, tables: Mapping[str, Tensor]) -> None:
        own = Tables.of("y", tables)
        if own.rows != self.prior.channels:
            raise BalleLiError(f"tables.y has {own.rows} rows, but the latent has {self.prior.channels} channels")
        self.prior.set_median("y", tables)
        self.coder = EntropyCoder(own)

    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        median = self._median()
        table = np.broadcast_to(np.arange(len(y))[:, None, None], y.shape)
        one, everywhere = np.broadcast_to(np.float32(1), y.shape), np.broadcast_to(True, y.shape)
        return Prepared(y - median, np.broadcast_to(median, y.shape), one, table, everywhere)

    def requantized(self, prepared: Prepared, values: Floats) -> Prepared:
        return replace(prepared, residual=values - prepared.mean)

    def encode(self, prepared: Prepared) -> Sections:
        coded, escaped = self.coder.encode(prepared.symbols().reshape(len(prepared.mean), -1))
        return present({Section.LATENTS_ESCAPED: escaped}) | {Section.LATENTS: coded}

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Decoded:
        escaped = sections.get(Section.LATENTS_ESCAPED, b"")
        groups = self.coder.decode(needed(sections, Section.LATENTS), escaped, rows * columns)
        symbols = np.stack(groups).reshape(-1, rows, columns)
        return Decoded(symbols, symbols + self._median())

    def bits(self, prepared: Prepared) -> Floats:
        symbols = prepared.symbols()
        costs = self.coder.bits(symbols.reshape(len(symbols), -1))
        return np.sum(costs, axis=0).reshape(symbols.shape[1:])

    def _median(self) -> NDArray[np.float32]:
        return self.prior.median.numpy(force=True)[:, None, None]
