"""The fully factorized prior of the latents: CompressAI's entropy bottleneck, evaluated faster."""

import torch
import torch.nn.functional as F
from torch import Tensor

from balle_li.models import compressai_classes
from balle_li.models.noise import uniform_noise


class EntropyBottleneck(compressai_classes.EntropyBottleneck):
    """Ballé et al. (2018), appendix 6.1: each channel's cumulative c(v) is a small monotonic network; p(v) = c(v + ½) − c(v − ½).

    In training v is y plus uniform noise in [−½, ½); else y rounded around the channel's median. Always fp32.
    Parameters, state and results are CompressAI's. Differences: both ends of the interval go through the network in
    one pass of fused operations; the quantiles take no gradient, for `update(update_quantiles=True)` finds them by
    bisection; and `batch_share` (rank, processes) says which part of the global batch this process holds, so that
    several processes together draw the noise that one would.
    """

    batch_share: tuple[int, int] = (0, 1)

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.quantiles.requires_grad_(False)

    def forward(self, x: Tensor, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """y `(B, C, h, w)` to (y_hat, likelihoods), both fp32 of that shape."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            batch, channels, *sides = x.shape
            if self.training if training is None else training:
                outputs = x + uniform_noise(x, self.batch_share)
            else:
                medians = self._get_medians().view(1, channels, 1, 1)
                outputs = torch.round(x - medians) + medians
            values = outputs.transpose(0, 1).reshape(channels, 1, -1)
            ends = self._logits_cumulative(torch.cat((values - 0.5, values + 0.5), dim=2), stop_gradient=False)
            lower, upper = torch.sigmoid(ends).chunk(2, dim=2)
            likelihoods = self.likelihood_lower_bound(upper - lower)
            return outputs, likelihoods.view(channels, batch, *sides).transpose(0, 1)

    def _logits_cumulative(self, inputs: Tensor, stop_gradient: bool) -> Tensor:
        """`(C, 1, n)` values to the logits of their cumulatives, `(C, 1, n)`."""
        logits = inputs
        for index, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            if stop_gradient:
                matrix, bias = matrix.detach(), bias.detach()
            logits = torch.baddbmm(bias, F.softplus(matrix), logits)
            if index < len(self.factors):
                factor = self.factors[index].detach() if stop_gradient else self.factors[index]
                logits = torch.addcmul(logits, torch.tanh(factor), torch.tanh(logits))
        return logits
