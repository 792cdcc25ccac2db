"""The rate–distortion cost that training lowers."""

from typing import TypedDict

from torch import Tensor

from balle_li.models.base import ModelOutput

SQUARED_PEAK = 255.0**2  # lmbda multiplies squared errors on the 0–255 scale


class Cost(TypedDict):
    """Scalars: loss = lmbda·255²·mse + bpp + lmbda_box·255²·box_mse; mse and box_mse on the [0, 1] scale."""

    loss: Tensor
    bpp: Tensor
    mse: Tensor
    box_mse: Tensor


class RateDistortionLoss:
    """J = lmbda · 255² · MSE + bpp + lmbda_box · 255² · mean(w · (x − x_hat)²).

    bpp is Σ log p / (−ln 2 · pixels), the expected bits per pixel, as in the published code of Graham & Decoto (2019);
    their poster writes Σ log(likelihoods) / log(numpixels).
    w (H, W) is the boxes' importance map, 0 outside all boxes. The mean runs over the whole picture, so that a small box
    does not outweigh all around it. This is the paper's Future Work (there lmbda_box = 0.1); 0 turns it off.
    """

    def __init__(self, lmbda: float, lmbda_box: float) -> None:
        self.lmbda, self.lmbda_box = lmbda, lmbda_box

    def __call__(self, output: ModelOutput, x: Tensor, weights: Tensor | None) -> Cost:
        """x `(B, 3, H, W)` in [0, 1]; weights `(B, 1, H, W)`, None where no pixel lies in a box. Means over the batch."""
        batch, _, height, width = x.shape
        bits = sum((-likelihoods.log2().sum() for likelihoods in output["likelihoods"].values()), x.new_zeros(()))
        bpp = bits / (batch * height * width)
        squared = (output["x_hat"].float() - x).square()
        mse = squared.mean()
        loss = self.lmbda * SQUARED_PEAK * mse + bpp
        if weights is None or self.lmbda_box == 0:
            return {"loss": loss, "bpp": bpp, "mse": mse, "box_mse": mse.new_zeros(())}
        box_mse = (squared * weights).mean()
        return {"loss": loss + self.lmbda_box * SQUARED_PEAK * box_mse, "bpp": bpp, "mse": mse, "box_mse": box_mse}
