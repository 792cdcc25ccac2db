"""The MS-SSIM loss: squared errors against the contrast of what is around them, on five scales."""

import torch.nn.functional as F
from torch import Tensor

# Of the scales 1, ½, ¼, ⅛ and 1/16, by Wang, Simoncelli & Bovik (2003).
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 7
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
    window around the place (Wang et al. 2004, equation 13). Here it is the error's mean square, so that a shift counts
    too, in square windows; the scales of MS-SSIM are added up, not multiplied, which for small errors is the same.
    Unlike a mean over whole pictures this can be weighed place by place.
    """
    x, x_hat = x.contiguous(), x_hat.float().contiguous()
    total = x.new_zeros(len(x))
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale > 0:
            x, x_hat = F.avg_pool2d(x, 2), F.avg_pool2d(x_hat, 2)
            weights = None if weights is None else F.avg_pool2d(weights, 2)
        contrast = _variance(x) + _variance(x_hat) + _STABLE
        error = _around((x_hat - x).square()) / contrast
        if weights is not None:
            error = error * _around(weights)
        total = total + weight / sum(_SCALE_WEIGHTS) * error.flatten(1).mean(dim=1)
    return total


def _variance(x: Tensor) -> Tensor:
    return (_around(x * x) - _around(x).square()).clamp_min(0)


def _around(x: Tensor) -> Tensor:
    """The mean in a window around every other place, within the picture."""
    window = min(_WINDOW, *x.shape[2:])
    return F.avg_pool2d(x, window, stride=min(2, window))
