"""What every model offers to training, to the codec and to the comparison."""

from typing import Any, TypedDict

from torch import Tensor, nn

from balle_li.latents.base import LatentCodec, LatentOutput


class ModelOutput(TypedDict):
    """x_hat `(B, 3, H, W)`, not clipped to [0, 1]; likelihoods of every coded latent, fp32, keyed by its name ("y");
    importance `(B, 1, h, w)` in [0, 1], the model's map of what is worth bits, where it makes one, else None."""

    x_hat: Tensor
    likelihoods: dict[str, Tensor]
    importance: Tensor | None


class CompressionModel(nn.Module):
    """An analysis transform g_a, a latent codec and a synthesis transform g_s, trained end to end.

    A subclass sets `downsampling` and, in its constructor, the three parts; a decorator gives it a name:

        @register_model("mine")
        class Mine(CompressionModel):
            downsampling = 16

            def __init__(self, N: int, depth: int = 2) -> None: ...

    The constructor's arguments are its hyperparameters, set by name in section `model` of params.yaml. In training mode
    latents carry uniform noise in place of rounding; in evaluation mode they are rounded.
    """

    name: str = ""
    """The registered name."""

    arguments: dict[str, Any]
    """The hyperparameters that it was built with."""

    downsampling: int
    """Pixels per latent, along each side."""

    started_near_goal: tuple[str, ...] = ()
    """Parts (`g_a`, `g_s.3`) that do not start at random; they take a quarter of the learning rate."""

    g_a: nn.Module
    latent_codec: LatentCodec
    g_s: nn.Module

    def forward(self, x: Tensor, r: Tensor | None = None) -> ModelOutput:
        """x: RGB in [0, 1] `(B, 3, H, W)`, sides multiples of `downsampling`; r: the quality map `(B, 1, h, w)`, 0 where it
        is None; models of one rate ignore it."""
        return self.output(self.latent_codec(self.g_a(x), r))

    def output(self, latents: LatentOutput, importance: Tensor | None = None) -> ModelOutput:
        """What `forward` returns, from what the latent codec does."""
        shown = latents.importance if importance is None else importance
        return {"x_hat": self.g_s(latents.y_hat), "likelihoods": latents.likelihoods, "importance": shown}

    def importance(self, x: Tensor) -> Tensor | None:
        """The map of what is worth bits that the analysis transform makes, `(B, 1, h, w)` in [0, 1]; None where it makes none."""
        return None
