"""What every model of the comparison offers to training and to the exporter."""

from abc import ABC, abstractmethod
from typing import TypedDict

from torch import Tensor, nn

from balle_li.models.entropy import EntropyBottleneck


class ModelOutput(TypedDict):
    """x_hat `(B, 3, H, W)`, not clipped to [0, 1]; likelihoods of every coded latent, fp32, keyed by its name ("y");
    importance `(B, 1, h, w)` in [0, 1] where the model makes a map of what is worth bits, else None."""

    x_hat: Tensor
    likelihoods: dict[str, Tensor]
    importance: Tensor | None


class CompressionModel(nn.Module, ABC):
    """An analysis transform, an entropy model and a synthesis transform, trained end to end.

    In training mode latents carry uniform noise in place of rounding; in evaluation mode they are rounded.
    """

    name: str = ""  # the registry's
    downsampling: int  # pixels per latent, along each side
    variable_rate = False  # whether it codes by an importance r
    started_as_klt: tuple[str, ...] = ("g_a", "g_s")  # the networks that `start_as_klt` has set

    def __init__(self, N: int) -> None:
        super().__init__()
        self.N = N

    @abstractmethod
    def forward(self, x: Tensor, importance: Tensor | None = None) -> ModelOutput:
        """x: RGB in [0, 1] `(B, 3, H, W)`, sides multiples of `downsampling`; importance: r of every latent, `(B, 1, h, w)`,
        0 where it is None, for models of variable rate; the others pay it no heed."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Sequential]:
        """The transforms under the names that a model folder gives them."""

    @abstractmethod
    def bottlenecks(self) -> dict[str, EntropyBottleneck]:
        """The entropy model of every coded latent, keyed as in `ModelOutput.likelihoods`."""
