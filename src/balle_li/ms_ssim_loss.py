"""The MS-SSIM loss: squared errors against the contrast of what is around them, on four scales."""

import torch.nn.functional as F
from torch import Tensor

# Of the scales ½, ¼, ⅛ and 1/16, by Wang, Simoncelli & Bovik (2003), who give 0.0448 to the finest one, left out here.
_SCALE_WEIGHTS = (0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 7
_STABLE = 0.03**2  # C₂ of SSIM (Wang et al. 2004) for pixels in [0, 1]


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
    for weight in _SCALE_WEIGHTS:
        x, x_hat = F.avg_pool2d(x, 2), F.avg_pool2d(x_hat, 2)
        contrast = _variance(x) + _variance(x_hat) + _STABLE
        error = _around((x_hat - x).square()) / contrast
        if weights is not None:
            weights = F.avg_pool2d(weights, 2)
            error = error * _around(weights)
        total = total + weight / sum(_SCALE_WEIGHTS) * error.flatten(1).mean(dim=1)
    return total


def _variance(x: Tensor) -> Tensor:
    return (_around(x * x) - _around(x).square()).clamp_min(0)


def _around(x: Tensor) -> Tensor:
    """The mean in a window around every other place, within the picture."""
    window = min(_WINDOW, *x.shape[2:])
    return F.avg_pool2d(x, window, stride=min(2, window))
