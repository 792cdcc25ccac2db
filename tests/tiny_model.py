"""A tiny codec with random weights, made without training: for tests of whatever needs a model folder."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from balle_li.codec.model_folder import ModelFolder
from balle_li.latents.base import Prepared
from balle_li.latents.conditional import ConditionalLatents
from balle_li.latents.entropy_coder import table_tensors
from balle_li.latents.gaussian import SCALES
from balle_li.latents.hyper_latent import CLASSES
from balle_li.latents.integer_network import FRACTION, integer_tensors
from balle_li.models.balle_li import BalleLi, ImportanceMask
from balle_li.models.base import build
from balle_li.registry import MODELS, ModelConfig

OWN_MODELS = [name for name in MODELS.names() if not MODELS.own[name].module.endswith("compressai_zoo")]
"""The models whose layers are written here."""


def tiny_model_folder(path: Path, name: str = "balle", N: int = 8, seed: int = 0, **arguments: Any) -> Path:
    """Write a model folder of a registered model with `N` channels; returns `path`."""
    tiny_model(name, N, seed, **arguments).save(path)
    return path


def tiny_model(name: str = "balle", N: int = 8, seed: int = 0, **arguments: Any) -> ModelFolder:
    """The model as training starts it, with tables that are too short for some of its symbols.

    Its mask is 1 at some places and 0 at others; its scale indices go from the table that codes nothing to wide ones, its
    hyper-latent leaves its tables, and its context moves means and scale indices.
    """
    torch.manual_seed(seed)
    model = build(ModelConfig(name, {"N": N, **arguments})).eval()
    latents = model.latent_codec
    if isinstance(latents, ConditionalLatents):
        _make_varied(latents)
        tables = integer_tensors("h_s", latents.h_s) | integer_tensors("h_c", latents.h_c)
        tables |= short_tables("y", SCALES) | short_tables("z", CLASSES * (latents.prior.channels + 1))
        tables["z.median"] = (FRACTION * _medians(latents.prior.channels, seed)).round() / FRACTION
        tables["decoder_gain"] = latents.decoder_gain.detach().clone()
    else:
        tables = short_tables("y", N) | {"y.median": _medians(N, seed)}
    if isinstance(model, BalleLi):
        _make_selective(model)
    latents.set_tables(tables)
    return ModelFolder.of(model, tables, {"lmbda": 0.01, "ms_ssim_weight": 0.0}, {})


@torch.no_grad()
def _make_varied(latents: ConditionalLatents) -> None:
    M = len(latents.encoder_gain)
    latents.encoder_gain.copy_(torch.linspace(0.4, 0.8, M))
    latents.decoder_gain.copy_(-latents.encoder_gain)
    # Before training, z hardly leaves 0, all indices are alike and the context says next to nothing.
    _reload(latents.h_a[-1], scale=8.0)
    _reload(latents.h_s[-1], scale=1.0, index=torch.linspace(-2.0, 40.0, M))
    _reload(latents.h_c[-1], scale=200.0, largest=1.0)


def _reload(layer: nn.Module, scale: float, index: Tensor | None = None, largest: float = torch.inf) -> None:
    """Multiply the finished weights and biases, up to `largest`; the second half of the biases become `index`."""
    state = {name: (scale * value).clamp(-largest, largest) for name, value in layer.state_dict().items()}
    if index is not None:
        state["bias"][len(index) :] = index
    layer.load_state_dict(state)


@torch.no_grad()
def _make_selective(model: BalleLi) -> None:
    """Let P lie on both sides of a half: as training starts it, it is nearly the same everywhere."""
    *features, mask = model.g_a
    assert isinstance(mask, ImportanceMask)
    for layer in mask.importance[::2]:
        layer.weight.mul_(8.0)
    x = torch.rand(1, 3, 16, 16).repeat_interleave(16, 2).repeat_interleave(16, 3)
    logits = mask.importance[:-1](nn.Sequential(*features)(x))
    mask.importance[-2].bias.sub_(logits.median())


def short_tables(latent: str, rows: int) -> dict[str, Tensor]:
    """Two-sided geometric distributions of different widths, row by row."""
    widths = np.linspace(0.5, 4.0, rows)
    reach = np.ceil(3 * widths).astype(np.int32)
    length = 2 * reach + 2
    pmf = np.zeros((rows, int(length.max())))
    for row, (width, radius) in enumerate(zip(widths, reach, strict=True)):
        pmf[row, : 2 * radius + 1] = np.exp(-np.abs(np.arange(-radius, radius + 1)) / width)
        pmf[row, 2 * radius + 1] = 1e-3 * pmf[row].sum()
    return table_tensors(latent, pmf, -reach, length)


def silenced(latents: ConditionalLatents, prepared: Prepared, columns: int) -> Prepared:
    """`prepared` without what differs from the mean in the first columns."""
    for _ in latents.order:  # what is left out of one step moves the means of the next
        values = prepared.residual + prepared.mean
        values[:, :, :columns] = prepared.mean[:, :, :columns]
        prepared = latents.requantized(prepared, values)
    return prepared


def _medians(channels: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-0.5, 0.5, channels).astype(np.float32))
