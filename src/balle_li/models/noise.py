"""Uniform noise in place of rounding, drawn so that several processes together draw what one would."""

import torch
from torch import Tensor


def uniform_noise(like: Tensor, batch_share: tuple[int, int]) -> Tensor:
    """Noise in [−½, ½], fp32, of the shape of `like` `(B, …)`; batch_share: (rank, processes), which part of a batch that is."""
    rank, processes = batch_share
    batch, *rest = like.shape
    noise = torch.empty(processes * batch, *rest, device=like.device).uniform_(-0.5, 0.5)
    return noise[rank * batch : (rank + 1) * batch]
