"""The two stand-ins for rounding while a model is trained, whose gradients are not zero."""

import torch
from torch import Tensor, nn


class UniformNoise(nn.Module):
    """The additive-noise proxy: noise in [−½, ½], drawn so that several processes together draw what one would.

    batch_share: (rank, processes), which part of the batch this process holds.
    """

    batch_share: tuple[int, int] = (0, 1)

    def forward(self, like: Tensor) -> Tensor:
        """Noise, fp32, of the shape of `like` `(B, …)`."""
        rank, processes = self.batch_share
        batch, *rest = like.shape
        noise = torch.empty(processes * batch, *rest, device=like.device).uniform_(-0.5, 0.5)
        return noise[rank * batch : (rank + 1) * batch]


def straight_through(values: Tensor) -> Tensor:
    """`values` rounded; the gradient passes as if they were not."""
    return values + (torch.round(values) - values).detach()
