"""The rate–distortion cost that training lowers."""

from typing import TypedDict

import torch.nn.functional as F
from torch import Tensor

from balle_li.models.base import ModelOutput
from balle_li.ms_ssim_loss import ms_ssim_loss, squared_weight

SQUARED_PEAK = 255.0**2  # lmbda multiplies squared errors on the 0–255 scale


class Cost(TypedDict):
    """Scalars; mse and box_mse on the [0, 1] scale, not weighed by r; ms_ssim_loss weighed by r, 0 where it is off."""

    loss: Tensor
    bpp: Tensor
    mse: Tensor
    box_mse: Tensor
    ms_ssim_loss: Tensor


class RateDistortionLoss:
    """J = bpp + c · 255² · (lmbda · MSE + lmbda_box · mean(w · (x − x_hat)²)) + lmbda · ms_ssim_weight · S.

    bpp is Σ log p / (−ln 2 · pixels), the expected bits per pixel, as in the published code of Graham & Decoto (2019);
    their poster writes Σ log(likelihoods) / log(numpixels).
    w (H, W) is the box weight map, 0 outside all boxes. The mean runs over the whole picture, so that a small box
    does not outweigh all around it. This is the paper's Future Work (there lmbda_box = 0.1); 0 turns it off.
    S is `ms_ssim_loss`, about 1 − MS-SSIM; ms_ssim_weight = 0 turns it off, as in the paper. c is `squared_weight`: 1
    without S.
    Where r is given, it weighs errors by 4^r, and each picture's J by 2^−(its mean r): rate and weighted error both about
    double with a unit of r, and without that the high rates alone would shape the model.
    """

    def __init__(self, lmbda: float, lmbda_box: float, ms_ssim_weight: float = 0.0) -> None:
        self.lmbda, self.lmbda_box, self.ms_ssim_weight = lmbda, lmbda_box, ms_ssim_weight
        self._squared_peak = squared_weight(ms_ssim_weight) * SQUARED_PEAK

    def __call__(self, output: ModelOutput, x: Tensor, weights: Tensor | None, r: Tensor | None = None) -> Cost:
        """x `(B, 3, H, W)` in [0, 1]; weights `(B, 1, H, W)`, None where no pixel lies in a box; r `(B, 1, H/d, W/d)` of
        variable-rate models. Means over the batch."""
        height, width = x.shape[2:]
        bits = sum((-p.log2().flatten(1).sum(dim=1) for p in output["likelihoods"].values()), x.new_zeros(len(x)))
        bpp = bits / (height * width)
        squared = (output["x_hat"].float() - x).square()
        boxed = None if weights is None or self.lmbda_box == 0 else squared * weights
        error = self.lmbda * squared if boxed is None else self.lmbda * squared + self.lmbda_box * boxed
        r_weights = None if r is None else F.interpolate(4.0**r, (height, width))
        cost = bpp + self._squared_peak * _mean(error if r_weights is None else error * r_weights)
        ms_ssim_term = cost.new_zeros(len(cost))
        if self.ms_ssim_weight > 0:
            ms_ssim_term = ms_ssim_loss(x, output["x_hat"], r_weights)
            cost = cost + self.lmbda * self.ms_ssim_weight * ms_ssim_term
        if r is not None:
            cost = cost * 2.0 ** -_mean(r)
        mse = squared.mean()
        box_mse = mse.new_zeros(()) if boxed is None else boxed.mean()
        return {
            "loss": cost.mean(),
            "bpp": bpp.mean(),
            "mse": mse,
            "box_mse": box_mse,
            "ms_ssim_loss": ms_ssim_term.detach().mean(),
        }


def _mean(values: Tensor) -> Tensor:
    """The mean of every picture, `(B, …)` to `(B,)`."""
    return values.flatten(1).mean(dim=1)
