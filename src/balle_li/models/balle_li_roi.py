"""`balle-li-roi`, the default: a variable-rate model that spends bits by a quality map."""

import math

import torch
from torch import nn

from balle_li.latents.coding_order import PLANES
from balle_li.latents.conditional import ConditionalLatents
from balle_li.latents.factorized import FactorizedPrior
from balle_li.models.base import CompressionModel, register_model
from balle_li.models.klt import start_as_klt
from balle_li.models.layers import GDN, Edge, ScaledConvolution, conv, deconv

_FIRST_GAIN = 0.9 * math.log(2)  # of latents per unit of r; at high rates halving the step quarters the error
_FIRST_POWER = 0.25  # of GDN
_EDGE: Edge = "replicate"
_FIRST_INDEX = 20.0  # a scale of 1.3
_INDEX_UNIT = 32.0  # in which h_s and h_c learn the scale index: it has up to 40 steps of the table to go


@register_model("balle-li-roi")
class BalleLiRoi(CompressionModel):
    """Ballé's transforms; a quality map r that the stream carries; a hyper-latent z that says where the picture needs bits.

                ┌─────┐                                              u_hat              ┌─────┐
        x ─────►│ g_a ├─ y ─(·e^gain·r)─ u ─┬──►[ u rounded around μ ]──(·e^gain'·r)──►│ g_s ├────► x_hat
                └─────┘          ▲          ▼            ▲ μ, σ              ▲          └─────┘
                                 │       ┌─────┐      ┌──┴──┐                │
                                 r ─────►│ h_a ├─ z ─►│ h_s │◄── r ──────────┘
                                         └─────┘      └─────┘ + h_c of the decoded neighbours

        x    (B, 3, H, W)
        r    (B, 1, H/16, W/16)     one unit weighs squared errors fourfold; see `balle_li.quality_map`
        g_a  conv 9×9 ↓4 to N · GDN · conv 5×5 ↓2 to 2N · GDN · conv 5×5 ↓2
        y    (B, M, H/16, W/16)     M = 4N
        h_a  conv 3×3 · ReLU · conv 5×5 ↓2
        z    (B, N/4, H/32, W/32)
        h_s  deconv 5×5 ↑2 · ReLU · conv 1×1 · ReLU · conv 1×1
        h_c  conv 3×3 ↓2 · ReLU · conv 1×1, of the first 3N/4 channels, at all positions but those of every 2^levels-th row
             and column, from a coarse grid to the finest
        μ, σ (B, M, H/16, W/16)     σ as a scale index
        g_s  deconv 5×5 ↑2 to 2N · IGDN · deconv 5×5 ↑2 to N · IGDN · deconv 9×9 ↑4

    Beyond the edge of a picture, or of latents, the last row and column go on, so that a flat picture is flat to its edge.
    The widths grow as the sides shrink: a block of 8×8 pixels has 192 values, of which N channels would keep a third.
    The power of each GDN is learned: at ¼ the transforms undo one another, so that high rates do not flatten; at ½ errors
    hide better in the contrast around them.
    z is Li et al.'s (2018) importance map made to work for the entropy coder: it is transmitted first, and gives every
    latent a mean and a scale. How, `ConditionalLatents` says. What was tried: docs/experiments.md.
    """

    downsampling = 16
    started_near_goal = ("g_a", "g_s")

    def __init__(self, N: int, levels: int = 5) -> None:
        super().__init__()
        W, M, z_channels, context_channels = 2 * N, 4 * N, max(1, N // 4), 3 * N // 4
        self.g_a = nn.Sequential(
            conv(3, N, kernel=9, stride=4, edge=_EDGE),
            GDN(N, power=_FIRST_POWER),
            conv(N, W, kernel=5, stride=2, edge=_EDGE),
            GDN(W, power=_FIRST_POWER),
            conv(W, M, kernel=5, stride=2, edge=_EDGE),
        )
        h_a = nn.Sequential(
            conv(M + 1, N, kernel=3, stride=1, edge=_EDGE),
            nn.ReLU(),
            conv(N, z_channels, kernel=5, stride=2, edge=_EDGE),
        )
        prior = FactorizedPrior(z_channels)
        parameters = _entropy_parameters(N, M, first_index=_FIRST_INDEX, fraction=1.0)
        h_s = nn.Sequential(
            deconv(z_channels + 4, N, kernel=5, stride=2, edge=_EDGE),
            nn.ReLU(),
            conv(N, N, kernel=1, stride=1),
            nn.ReLU(),
            parameters,
        )
        changes = _entropy_parameters(N, M, first_index=0.0, fraction=0.01)  # at first h_s speaks for itself
        h_c = nn.Sequential(nn.Conv2d(context_channels + PLANES, N, kernel_size=3, stride=2), nn.ReLU(), changes)
        _start_as_interpolation(h_c, N // 8)
        self.g_s = nn.Sequential(
            deconv(M, W, kernel=5, stride=2, edge=_EDGE),
            GDN(W, inverse=True, power=_FIRST_POWER),
            deconv(W, N, kernel=5, stride=2, edge=_EDGE),
            GDN(N, inverse=True, power=_FIRST_POWER),
            deconv(N, 3, kernel=9, stride=4, edge=_EDGE),
        )
        start_as_klt(self.g_a, self.g_s)
        self.latent_codec = ConditionalLatents(M, h_a, prior, h_s, h_c, _FIRST_GAIN, levels)


@torch.no_grad()
def _entropy_parameters(N: int, M: int, first_index: float, fraction: float) -> ScaledConvolution:
    """The last layer of h_s or h_c: N channels to M means and M scale indices, which it learns in units of their own.

    fraction: of the usual random weights that it starts with.
    """
    units = torch.ones(2 * M)
    units[M:] = _INDEX_UNIT
    layer = ScaledConvolution(N, 2 * M, kernel=1, units=units)
    assert layer.bias is not None
    for weight in layer.parameters():
        weight.mul_(fraction)
    layer.bias[M:] += first_index / _INDEX_UNIT
    return layer


@torch.no_grad()
def _start_as_interpolation(h_c: nn.Sequential, channels: int) -> None:
    """Let h_c begin by predicting the first channels as the mean of their four decoded neighbours.

    Those are the KLT's first channels: a block's mean colour and its slowest gradients. Two hidden channels, one for either
    sign, carry each of them through the ReLU.
    """
    first, last = h_c[0], h_c[-1]
    assert isinstance(first, nn.Conv2d) and isinstance(last, ScaledConvolution) and first.bias is not None
    neighbours = torch.full((3, 3), 0.25)
    neighbours[1, 1] = 0.0  # of a 3×3 square, either the corners are decoded or the other four
    for channel in range(channels):
        for hidden, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
            first.weight[hidden] = 0.0
            first.bias[hidden] = 0.0
            first.weight[hidden, channel] = sign * neighbours
            last.weight[channel, hidden] += sign
