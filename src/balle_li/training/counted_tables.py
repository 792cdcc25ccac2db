"""Tables of a conditional model from what it really codes, in place of the Gaussians that it was trained with."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from balle_li.codec.conditional_latents import ConditionalLatents
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.transforms import Transforms
from balle_li.datasets.patch_store import PatchStore
from balle_li.importance import QUALITY_SPAN, to_levels
from balle_li.models.gaussian import SCALES, scale_of
from balle_li.training.integer_export import symmetric_tables

MAX_PATCHES = 256  # spread evenly over the store
_PRIOR = 50.0  # symbols of a Laplace distribution that every table is taken to have seen
_TAIL_MASS = 1e-6  # share of that distribution that a table leaves to the escape


def with_counted_tables(model: ModelFolder, store: PatchStore) -> ModelFolder:
    """`model` with tables of y counted on patches of `store`, which go through the range of qualities.

    Around the means foretold, symbols are nearer to Laplace distributions than to Gaussians. With its Gaussians, which
    are of the right width, a `balle-li-roi` of 2,500 steps coded Kodak in 1.6 to 2.6 % more bits than with counted tables.
    (One trained with Laplace distributions from the start lost 2 % of BD-rate by MS-SSIM to the Gaussians.)
    """
    b = (scale_of(torch.arange(SCALES, dtype=torch.float64)) / math.sqrt(2)).numpy()
    reach = np.ceil(b * -math.log(_TAIL_MASS)).astype(np.int64)
    seen = _distances(model, store, int(reach.max()))
    distances = np.arange(seen.shape[1])
    mass = seen / np.where(distances == 0, 1, 2) + _PRIOR * _laplace(distances, b[:, None])
    beyond = seen.sum(axis=1, where=distances > reach[:, None])
    tables = symmetric_tables(mass, beyond + _PRIOR * np.exp(-(reach + 0.5) / b), reach)
    return replace(model, tensors=model.tensors | {f"tables.y.{name}": tensor for name, tensor in tables.items()})


def _distances(model: ModelFolder, store: PatchStore, least: int) -> NDArray[np.int64]:
    """How often each table coded each |symbol|: (SCALES, 1 + the largest, or `least`)."""
    transforms, latents = Transforms(model, torch.device("cpu"), torch.float32), ConditionalLatents(model)
    # Neighbours in the store are of one picture; this order gives each picture many qualities.
    qualities = np.linspace(-QUALITY_SPAN, QUALITY_SPAN, 16)
    tables, symbols = [], []
    for number, patch in enumerate(store.spread(MAX_PATCHES)):
        y, _ = transforms.analyse(store[patch], None)
        prepared = latents.prepare(y, np.full(y.shape[1:], to_levels(qualities[7 * number % 16])))
        tables.append(prepared.table[prepared.coded])
        symbols.append(np.abs(prepared.symbols()[prepared.coded]))
    table, distance = np.concatenate(tables).astype(np.int64), np.concatenate(symbols).astype(np.int64)
    width = int(distance.max(initial=least)) + 1
    return np.bincount(table * width + distance, minlength=SCALES * width).reshape(SCALES, width)


def _laplace(distance: NDArray[np.int64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a Laplace distribution of scale b that rounds to ±`distance`, either of them."""
    far = np.exp(-(distance + 0.5) / b)
    return np.where(distance == 0, 1 - far, 0.5 * (np.exp(-np.maximum(distance - 0.5, 0) / b) - far))
