"""`balle-li-roi`: one model of every rate, that spends its bits where it is asked to, and the default."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from balle_li.models.base import CompressionModel, ModelOutput
from balle_li.models.entropy import EntropyBottleneck
from balle_li.models.gaussian import SCALES, BoundedIndex, GaussianConditional, straight_through
from balle_li.models.klt import start_as_klt
from balle_li.models.layers import GDN, ConvolutionInUnits, conv, deconv

_FIRST_GAIN = 0.9 * math.log(2)  # of latents per unit of r; at high rates halving the step quarters the error
_FIRST_INDEX = 20.0  # a scale of 1.3
_INDEX_UNIT = 32.0  # in which h_s and h_c learn the index: it has up to 40 steps of the table to go


class BalleLiRoi(CompressionModel):
    """Ballé's transforms; an importance r that the stream carries; a small map z that says where the picture needs bits.

                ┌─────┐                                              u_hat              ┌─────┐
        x ─────►│ g_a ├─ y ─(·e^gain·r)─ u ─┬──►[ u rounded around μ ]──(·e^gain'·r)──►│ g_s ├────► x_hat
                └─────┘          ▲          ▼            ▲ μ, σ              ▲          └─────┘
                                 │       ┌─────┐      ┌──┴──┐                │
                                 r ─────►│ h_a ├─ z ─►│ h_s │◄── r ──────────┘
                                         └─────┘      └─────┘ + h_c of what is decoded, at every other position

        x    (B, 3, H, W)
        r    (B, 1, H/16, W/16)     one unit weighs squared errors fourfold; see `balle_li.importance`
        g_a  conv 9×9 ↓4 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2
        y    (B, M, H/16, W/16)     M = 3N
        h_a  conv 3×3 · ReLU · conv 5×5 ↓2
        z    (B, N/4, H/32, W/32)
        h_s  deconv 5×5 ↑2 · ReLU · conv 1×1 · ReLU · conv 1×1
        h_c  conv 3×3 · ReLU · conv 1×1
        μ, σ (B, M, H/16, W/16)     σ as a place in the table of `GaussianConditional`
        g_s  deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 9×9 ↑4

    z is Li et al.'s (2018) importance map made to work for the entropy coder: it is transmitted first, with a factorized
    prior of its own, and gives every latent a mean and a scale, as the hyperprior of Ballé et al. (2018) and Minnen et al.
    (2018). h_s is a convolution with ReLU alone, so that it becomes integers (`training/integer_export.py`).
    The gains are those of Cui et al. (2021), "Asymmetric gained deep image compression", with one learned slope a
    channel for a continuous r. h_s sees r's four values under each of its inputs, which costs no layer of its own.

    Latents are decoded in two halves, like the fields of a checkerboard (He et al. 2021, "Checkerboard context model for
    efficient learned image compression"): h_c adds to μ and σ of the second half what their four neighbours in the first
    half tell, by the distances from μ of the first `context_channels` channels.

    What was tried, on models of 2,500 to 5,000 steps (Kodak, 8 or 12 pictures; rates from low to high):
    - h_c alone, trained for 1,000 steps beside a finished model: 10 to 3 % fewer bits; with all channels 11 to 3 %; with one
      more layer 10 to 3 %; with the index as a further input 9 to 2 %. Halves of channels instead (32 of them, then the
      others at the same place): 0 to 1 %. Trained with the rest from the start it lowers the BD-rate by PSNR and by
      MS-SSIM by 6 points.
    - Noise in place of rounding for the decoder throughout: 9 and 6 points of BD-rate by PSNR and by MS-SSIM worse; in the
      first half of training (`train.soft`): 1 worse, 2 better.
    - Learning the index in units of 8: 3 and 3 points better; of three times as much: 1 more by MS-SSIM. From the start at
      20 most scales are far off, and with units of 1 a step of Adam is a thousandth of the way. From trained weights long
      steps cost 1 % of the bits, so there the unit is 1. Units for means, and for what h_a and h_c are given, by the
      spread of each channel: no further gain.
    - A learned step for each channel beside the gains: 1 worse, 1 better. Scales by r after every layer of the transforms:
      as good, 3 worse.
    - One rate alone (r = 0, with an index in units of 1): at that rate 22 and 14 % more bits. The high rates teach the low ones.
    - Decoding a symbol to the mean of what was rounded to it, counted by index: 0.1 to 0.2 dB worse; g_s knows already.
      Another r for each place, found by gradient descent on the cost of a picture: 0.1 to 0.4 % of the cost.
    - A moving average of the weights (of 0.99 or 0.999 a step) after 20,000 steps, whose learning rate ends at 0: 0.0 and
      0.1 % more cost on the validation patches.
    - exp(a·r + b·r²) as the gain: 2 to 4 % more bits. A wider dead zone in the encoder: more bits from the smallest on.
    - The transforms at 0.7 of the learning rate instead of 0.25: they break (25 dB at all rates).
    """

    downsampling = 16
    variable_rate = True

    def __init__(self, N: int) -> None:
        super().__init__(N)
        self.M = M = 3 * N
        map_channels = max(1, N // 4)
        self.g_a = nn.Sequential(
            conv(3, N, kernel=9, stride=4),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
            GDN(N),
            conv(N, M, kernel=5, stride=2),
        )
        self.h_a = nn.Sequential(
            conv(M + 1, N, kernel=3, stride=1),
            nn.ReLU(),
            conv(N, map_channels, kernel=5, stride=2),
        )
        self.entropy_bottleneck = EntropyBottleneck(map_channels)
        units = torch.ones(2 * M)
        units[M:] = _INDEX_UNIT
        last = ConvolutionInUnits(N, 2 * M, kernel=1, units=units)
        assert last.bias is not None
        with torch.no_grad():
            last.bias[M:] += _FIRST_INDEX / _INDEX_UNIT
        self.h_s = nn.Sequential(
            deconv(map_channels + 4, N, kernel=5, stride=2),
            nn.ReLU(),
            conv(N, N, kernel=1, stride=1),
            nn.ReLU(),
            last,
        )
        self.context_channels = 3 * N // 4
        added = ConvolutionInUnits(N, 2 * M, kernel=1, units=units)
        with torch.no_grad():
            for weight in added.parameters():
                weight.mul_(0.01)  # at first h_s speaks for itself
        self.h_c = nn.Sequential(conv(self.context_channels, N, kernel=3, stride=1), nn.ReLU(), added)
        self.gaussian_conditional = GaussianConditional()
        self.g_s = nn.Sequential(
            deconv(M, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, 3, kernel=9, stride=4),
        )
        start_as_klt(self.g_a, self.g_s)
        self.encoder_gain = nn.Parameter(torch.full((M,), _FIRST_GAIN))
        self.decoder_gain = nn.Parameter(torch.full((M,), -_FIRST_GAIN))

    def forward(self, x: Tensor, importance: Tensor | None = None) -> ModelOutput:
        y = self.g_a(x)
        with torch.autocast(x.device.type, enabled=False):
            y = y.float()
            r = y.new_zeros(len(y), 1, *y.shape[2:]) if importance is None else importance
            u = y * _gain(self.encoder_gain, r)
        z = self.h_a(torch.cat((to_even(u), to_even(r)), dim=1))
        with torch.autocast(x.device.type, enabled=False):
            z_hat, z_likelihoods = self.entropy_bottleneck(z)
            mean, index = self.with_context(u, *self.entropy_parameters(z_hat, r))
            u_hat, y_likelihoods = self.gaussian_conditional(u, mean, index)
            y_hat = u_hat * _gain(self.decoder_gain, r)
        likelihoods = {"y": y_likelihoods, "z": z_likelihoods}
        shown = index.detach().mean(dim=1, keepdim=True) / (SCALES / 2)
        return {"x_hat": self.g_s(y_hat), "likelihoods": likelihoods, "importance": shown.clamp(0, 1)}

    def entropy_parameters(self, z_hat: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """z_hat `(B, N/4, ⌈h/2⌉, ⌈w/2⌉)` and r `(B, 1, h, w)` to mean and index, not bounded, `(B, M, h, w)`."""
        height, width = r.shape[2:]
        parameters = self.h_s(torch.cat((z_hat, F.pixel_unshuffle(to_even(r), 2)), dim=1))[:, :, :height, :width]
        mean, index = parameters.chunk(2, dim=1)
        return mean, index

    def with_context(self, u: Tensor, mean: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """mean and index with what h_c adds to them, the index within the table. All `(B, M, h, w)`."""
        height, width = u.shape[2:]
        second = second_half(height, width, u.device)
        symbols = straight_through((u - mean)[:, : self.context_channels])
        more_mean, more_index = (self.h_c(symbols * ~second) * second).chunk(2, dim=1)
        return mean + more_mean, BoundedIndex.apply(index + more_index)

    def networks(self) -> dict[str, nn.Sequential]:
        return {"g_a": self.g_a, "h_a": self.h_a, "g_s": self.g_s}

    def bottlenecks(self) -> dict[str, EntropyBottleneck]:
        return {"z": self.entropy_bottleneck}


def second_half(height: int, width: int, device: torch.device) -> Tensor:
    """`(height, width)`, True where row and column add up to an odd number: the positions that are decoded last."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return (rows[:, None] + columns) % 2 == 1


def to_even(values: Tensor) -> Tensor:
    """`(B, C, h, w)` with its last row and column repeated where h or w is odd."""
    height, width = values.shape[2:]
    if height % 2 == 0 and width % 2 == 0:
        return values
    return F.pad(values, (0, width % 2, 0, height % 2), mode="replicate")


def _gain(slope: Tensor, r: Tensor) -> Tensor:
    """`(M,)` and `(B, 1, h, w)` to `(B, M, h, w)`."""
    return torch.exp(slope.view(1, -1, 1, 1) * r)
