"""The interface of models, as training, the codec and the comparison use it."""

import functools
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from balle_li.errors import TrainingError
from balle_li.latents.base import LatentCodec, LatentOutput
from balle_li.registry import MODELS, ModelConfig

_Thing = TypeVar("_Thing", bound=Callable[..., Any])


def register_model(name: str) -> Callable[[_Thing], _Thing]:
    """Decorator of a class, or of a function that makes a model: `build` calls it when it is asked for `name`."""
    return functools.partial(MODELS.add, name)


def build(config: ModelConfig) -> "CompressionModel":
    """The model that `config` names, with freshly drawn weights (from torch's global random generator).

    Raises ConfigError: another package's model cannot be imported, or a hyperparameter is unknown, missing or wrong.
    """
    arguments = config.checked()
    model: CompressionModel = MODELS.get(config.name)(**arguments)
    model.name, model.arguments = config.name, arguments
    return model


class ModelOutput(TypedDict):
    """x_hat `(B, 3, H, W)`, not clipped to [0, 1]; likelihoods of every coded latent, fp32, keyed by its name ("y");
    importance `(B, 1, h, w)` in [0, 1], the model's importance map, where it makes one, else None."""

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

    requirements: tuple[str, ...] = ()
    """The packages that it needs beside those of every model."""

    memory_format: torch.memory_format = torch.channels_last
    """Of its weights and pictures while it trains."""

    trained_for: dict[str, float] | None = None
    """Of a model that is not trained here but taken with its published weights: the terms of the loss that they are of,
    `lmbda` and `ms_ssim_weight`."""

    g_a: nn.Module
    latent_codec: LatentCodec
    g_s: nn.Module

    def forward(self, x: Tensor, r: Tensor | None = None) -> ModelOutput:
        """x: RGB in [0, 1] `(B, 3, H, W)`, sides multiples of `side_multiple`; r: the quality map `(B, 1, h, w)`, 0 where it
        is None; models of one rate ignore it."""
        x = x.contiguous(memory_format=self.memory_format)
        return self.output(self.latent_codec(self.g_a(x), r))

    def output(self, latents: LatentOutput, importance: Tensor | None = None) -> ModelOutput:
        """What `forward` returns, from what the latent codec does."""
        shown = latents.importance if importance is None else importance
        return {"x_hat": self.g_s(latents.y_hat), "likelihoods": latents.likelihoods, "importance": shown}

    @property
    def side_multiple(self) -> int:
        """What the sides of the pictures that it is given are multiples of, in pixels."""
        return self.downsampling * self.latent_codec.multiple

    def load_published(self) -> None:
        """Take the weights that the model's authors published. Raises TrainingError: there are none, or none can be fetched."""
        raise TrainingError(
            f"there are no published weights of {self.name}; set train.init_from to something else than zoo"
        )

    def importance(self, x: Tensor) -> Tensor | None:
        """The importance map that the analysis transform makes, `(B, 1, h, w)` in [0, 1]; None where it makes none."""
        return None
