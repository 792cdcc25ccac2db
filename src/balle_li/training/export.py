"""From a trained model to a model folder: plain layers, and integer tables in place of the entropy bottleneck."""

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from balle_li.codec.model_folder import FORMAT, ModelFolder
from balle_li.codec.tables import PRECISION, integer_frequencies
from balle_li.models.balle_li_roi import BalleLiRoi
from balle_li.models.base import CompressionModel
from balle_li.models.entropy import EntropyBottleneck
from balle_li.training.integer_export import FRACTION_BITS, conditional_parts
from balle_li.training.layer_export import layer, weights
from balle_li.version import __version__

TAIL_MASS = 1e-6  # share of a latent's values, by the model, that its table leaves to the escape
SEARCH_RADIUS = 1e5  # of the bisection, as in CompressAI
MAX_REACH = 1024  # a table's symbols lie at most so far from the median


def model_folder(
    model: CompressionModel, lmbda: float, training: dict[str, Any], structure: float = 0.0
) -> ModelFolder:
    """The finished codec. lmbda, structure: of the cost that it was trained for. `training` is put into model.json as it is.

    Raises BalleLiError: a weight is not finite.
    """
    tensors: dict[str, Tensor] = {}
    networks = {}
    for name, network in model.networks().items():
        networks[name] = [layer(module) for module in network]
        for index, module in enumerate(network):
            tensors |= {f"{name}.{index}.{key}": tensor for key, tensor in weights(module).items()}
    tables = {}
    side_information: dict[str, Any] = {}
    if isinstance(model, BalleLiRoi):
        side_information, integers = conditional_parts(model)
        tensors |= integers
        tables["y"] = {"kind": "conditional", "precision": PRECISION}
    for latent, bottleneck in model.bottlenecks().items():
        tables[latent] = {"kind": "factorized", "precision": PRECISION}
        step = None if latent == "y" else 2.0**-FRACTION_BITS
        tensors |= {f"tables.{latent}.{key}": tensor for key, tensor in factorized_tables(bottleneck, step).items()}
    description = {
        "format": FORMAT,
        "name": model.name,
        "N": model.N,
        "downsampling": model.downsampling,
        "lmbda": lmbda,
        "structure": structure,
        "created_with": __version__,
        "networks": networks,
        "tables": tables,
        "training": training,
    } | side_information
    return ModelFolder(
        description, {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    )


@torch.no_grad()
def factorized_tables(bottleneck: EntropyBottleneck, median_step: float | None = None) -> dict[str, Tensor]:
    """Tables of the symbols round(y − median), a row per channel, as `ModelFolder` has them.

    Worked out in float64. The range of a row leaves TAIL_MASS to both sides together; the median and the range come from
    bisection of the cumulative, as in CompressAI's `update(update_quantiles=True)`. With a `median_step` the median is
    brought to its nearest multiple.
    """
    exact = copy.deepcopy(bottleneck).cpu().double()
    target = math.log(2 / TAIL_MASS - 1)
    reach = torch.full((exact.channels, 1, 1), SEARCH_RADIUS, dtype=torch.float64)
    cumulative = partial(exact._logits_cumulative, stop_gradient=True)
    low, median, high = (
        exact._search_target(cumulative, logit, -reach, reach)[:, 0, 0] for logit in (-target, 0.0, target)
    )
    if median_step is not None:
        median = torch.round(median / median_step) * median_step
    median = median.float().double()  # the codec's, in fp32
    below = (median - low).ceil().clamp(0, MAX_REACH).long()
    above = (high - median).ceil().clamp(0, MAX_REACH).long()
    symbols = torch.arange(int((below + above).max()) + 1)
    values = (symbols - below[:, None] + median[:, None])[:, None]  # (C, 1, L)
    lower = exact._logits_cumulative(values - 0.5, stop_gradient=True)[:, 0]
    upper = exact._logits_cumulative(values + 0.5, stop_gradient=True)[:, 0]
    # Of the two equal forms of the difference, the one of small numbers: it keeps the upper tail from vanishing.
    sign = torch.where(lower + upper > 0, -1.0, 1.0)
    mass = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
    rows = torch.arange(len(below))
    last = below + above
    escape = torch.sigmoid(lower[:, 0]) + torch.sigmoid(-upper[rows, last])
    pmf = torch.zeros(len(rows), len(symbols) + 1, dtype=torch.float64)
    pmf[:, :-1] = torch.where(symbols <= last[:, None], mass, 0.0)
    pmf[rows, last + 1] = escape
    length = (last + 2).numpy().astype(np.int32)
    return {
        "frequencies": torch.from_numpy(integer_frequencies(pmf.numpy(), length)),
        "offset": (-below).int(),
        "length": torch.from_numpy(length),
        "median": median.float(),
    }
