"""The MS-SSIM loss: 1 − MS-SSIM with a say for every place, so that errors can be weighed place by place."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the scales 1, ½, ¼, ⅛ and 1/16, by Wang, Simoncelli & Bovik (2003).
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS, _SIGMA = 11, 1.5  # of the Gaussian window
_STABLE = 0.03**2  # C₂ of SSIM (Wang et al. 2004) for pixels in [0, 1]
_SQUARED_WEIGHT = 0.1


def squared_weight(ms_ssim_weight: float) -> float:
    """What squared errors count in a loss: 1 alone, 0.1 beside the MS-SSIM loss.

    The tenth keeps colours and brightness, which MS-SSIM hardly sees, and lets one lmbda give about the same rate with both
    losses.
    """
    return _SQUARED_WEIGHT if ms_ssim_weight > 0 else 1.0


def ms_ssim_loss(x: Tensor, x_hat: Tensor, weights: Tensor | None = None) -> Tensor:
    """About 1 − MS-SSIM of every picture, 0 where x_hat is x, `(B,)`, fp32.

    x, x_hat: `(B, 3, H, W)` in [0, 1], H and W multiples of 16. weights `(B, 1, H, W)` multiply the error of each place.

    At one scale, 1 − (2σ_xy + C₂) / (σ_x² + σ_y² + C₂) is the variance of the error over σ_x² + σ_y² + C₂, all in a
    window around the place (Wang et al. 2004, equation 13). At the coarsest scale it is the error's mean square, so that a
    shift of brightness or colour counts once. The scales of MS-SSIM are added up, not multiplied, which for small errors
    is the same. Unlike a mean over whole pictures this can be weighed place by place.
    """
    with torch.autocast(x.device.type, enabled=False):
        # Variances as differences of means need all the digits of fp32, whatever the networks compute in.
        x, x_hat = x.float().contiguous(), x_hat.float().contiguous()
        weights = None if weights is None else weights.float()
        total = x.new_zeros(len(x))
        for scale, weight in enumerate(_SCALE_WEIGHTS):
            if scale > 0:
                x, x_hat = F.avg_pool2d(x, 2), F.avg_pool2d(x_hat, 2)
                weights = None if weights is None else F.avg_pool2d(weights, 2)
            around = _Windows(x)
            difference = x_hat - x
            last = scale == len(_SCALE_WEIGHTS) - 1
            error = around(difference.square()) if last else around.variance(difference)
            error = error / (around.variance(x) + around.variance(x_hat) + _STABLE)
            if weights is not None:
                error = error * around(weights)
            total = total + weight / sum(_SCALE_WEIGHTS) * error.flatten(1).mean(dim=1)
        return total


class _Windows:
    """Means in Gaussian windows around every other place, within the picture."""

    def __init__(self, like: Tensor) -> None:
        self._rows, self._columns = (_windows(side).to(like) for side in like.shape[2:])

    def __call__(self, x: Tensor) -> Tensor:
        return self._rows @ (x @ self._columns.T)

    def variance(self, x: Tensor) -> Tensor:
        return (self(x * x) - self(x).square()).clamp_min(0)


def _windows(side: int) -> Tensor:
    """The matrix that takes the means along one side of a picture, `(windows, side)`.

    A product of matrices takes a fraction of the time of a pooling or a convolution with a window of this size.
    """
    taps = min(_TAPS, side)
    first = torch.arange(0, side - taps + 1, min(2, taps))[:, None]
    place = torch.arange(side)
    distance = place - (first + (taps - 1) / 2)
    inside = (place >= first) & (place < first + taps)
    means = torch.where(inside, torch.exp(-0.5 * (distance / _SIGMA).square()), 0)
    return means / means.sum(dim=1, keepdim=True)
