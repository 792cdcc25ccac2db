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
    """`MsSsimLoss(x, weights)(x_hat)`."""
    return MsSsimLoss(x, weights)(x_hat)


class MsSsimLoss:
    """About 1 − MS-SSIM of pictures x_hat to x, 0 where x_hat is x. What x alone decides is worked out once.

    At one scale, 1 − (2σ_xy + C₂) / (σ_x² + σ_y² + C₂) is the variance of the error over σ_x² + σ_y² + C₂, all in a
    window around the place (Wang et al. 2004, equation 13). At the coarsest scale it is the error's mean square, so that a
    shift of brightness or colour counts once. The scales of MS-SSIM are added up, not multiplied, which for small errors
    is the same. Unlike a mean over whole pictures this can be weighed place by place.
    """

    def __init__(self, x: Tensor, weights: Tensor | None = None) -> None:
        """x: `(B, 3, H, W)` in [0, 1], H and W multiples of 16. weights `(B, 1, H, W)` multiply the error of each place."""
        with torch.autocast(x.device.type, enabled=False):
            # Variances as differences of means need all the digits of fp32, whatever the networks compute in.
            x, weights = x.float().contiguous(), None if weights is None else weights.float()
            self._scales = [_Scale(x, weights)]
            for _ in _SCALE_WEIGHTS[1:]:
                x, weights = F.avg_pool2d(x, 2), None if weights is None else F.avg_pool2d(weights, 2)
                self._scales.append(_Scale(x, weights))

    def __call__(self, x_hat: Tensor) -> Tensor:
        """x_hat like x, to `(B,)`, fp32."""
        with torch.autocast(x_hat.device.type, enabled=False):
            x_hat = x_hat.float().contiguous()
            total = x_hat.new_zeros(len(x_hat))
            for number, (scale, weight) in enumerate(zip(self._scales, _SCALE_WEIGHTS, strict=True)):
                if number > 0:
                    x_hat = F.avg_pool2d(x_hat, 2)
                error = scale.error(x_hat, of_shifts=scale is self._scales[-1])
                total = total + weight / sum(_SCALE_WEIGHTS) * error.flatten(1).mean(dim=1)
            return total


class _Scale:
    """One scale of x, its means and variances in Gaussian windows around every other place."""

    def __init__(self, x: Tensor, weights: Tensor | None) -> None:
        self._x = x
        self._rows, self._columns = (_windows(side).to(x) for side in x.shape[2:])
        self._mean = self._means(x)
        self._variance = self._means(x * x) - self._mean.square()
        self._weights = None if weights is None else self._means(weights)

    def error(self, x_hat: Tensor, of_shifts: bool) -> Tensor:
        """Of each window, weighed. of_shifts: whether a shift of the whole window is part of it."""
        mean = self._means(x_hat)
        error = self._means((x_hat - self._x).square())
        if not of_shifts:
            error = (error - (mean - self._mean).square()).clamp_min(0)
        contrast = (self._variance + self._means(x_hat * x_hat) - mean.square()).clamp_min(0)
        error = error / (contrast + _STABLE)
        return error if self._weights is None else error * self._weights

    def _means(self, x: Tensor) -> Tensor:
        return self._rows @ (x @ self._columns.T)


def _windows(side: int) -> Tensor:
    """The matrix that takes the means along one side of a picture, `(windows, side)`.

    Beyond the edge the picture is mirrored, so that every place has the same say. A product of matrices takes a fraction of
    the time of a pooling or a convolution with a window of this size.
    """
    step = 2 if side % 2 == 0 else 1
    centre = torch.arange((step - 1) / 2, side, step)[:, None]
    place = torch.arange(-_TAPS, side + _TAPS)
    distance = place - centre
    gauss = torch.where(distance.abs() <= _TAPS / 2, torch.exp(-0.5 * (distance / _SIGMA).square()), 0)
    inside = place % (2 * side)
    inside = torch.minimum(inside, 2 * side - 1 - inside)
    means = torch.zeros(len(centre), side).index_add_(1, inside, gauss)
    return means / means.sum(dim=1, keepdim=True)
