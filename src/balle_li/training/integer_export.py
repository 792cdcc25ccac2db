"""h_s and h_c in whole numbers, and the tables of the Gaussians: what makes conditional streams decode alike everywhere."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.codec.tables import integer_frequencies
from balle_li.errors import BalleLiError
from balle_li.importance import LIMIT, STEPS
from balle_li.models.balle_li_roi import BalleLiRoi
from balle_li.models.gaussian import SCALES, scale_of
from balle_li.training.layer_export import layer, weights

FRACTION_BITS = 8  # of every value that enters or leaves a layer
WEIGHT_BITS, BIAS_BITS = 15, 30  # of a layer's largest weight and bias
MAX_SHIFT = 24
TAIL_MASS = 1e-6  # share of a Gaussian that its table leaves to the escape


def conditional_parts(model: BalleLiRoi) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a folder of this model has besides networks and the tables of z: parts of model.json, and tensors."""
    networks: dict[str, list[dict[str, Any]]] = {}
    tensors: dict[str, Tensor] = {}
    for name, network in (("h_s", model.h_s), ("h_c", model.h_c)):
        networks[name], integers = integer_layers(network, name)
        tensors |= integers
    tensors |= {f"tables.y.{key}": tensor for key, tensor in gaussian_tables().items()}
    tensors |= {"encoder_gain": model.encoder_gain, "decoder_gain": model.decoder_gain}
    return {"integer_networks": networks, "importance": {"steps": STEPS, "limit": LIMIT}}, tensors


def integer_layers(network: nn.Sequential, name: str) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The layers of a network of convolutions and ReLU as model.json has them, and int32 tensors `<name>.<i>.<weight|bias>`.

    A layer's weights are whole numbers over 2^shift, rounded from the trained ones; its bias is over 2^(shift + 8).
    """
    layers, tensors = [], {}
    for index, module in enumerate(network):
        description = layer(module)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            weight, bias = (tensor.detach().double() for tensor in weights(module).values())
            shift = min(MAX_SHIFT, WEIGHT_BITS - _exponent(weight), BIAS_BITS - FRACTION_BITS - _exponent(bias))
            if shift < 0:
                raise BalleLiError(
                    f"{name}.{index} has a weight or bias too large for whole numbers; the training diverged"
                )
            description["shift"] = shift
            tensors[f"{name}.{index}.weight"] = torch.round(weight * 2**shift).int()
            tensors[f"{name}.{index}.bias"] = torch.round(bias * 2 ** (shift + FRACTION_BITS)).int()
        layers.append(description)
    return layers, tensors


def gaussian_tables() -> dict[str, Tensor]:
    """Tables of whole numbers around 0 under Gaussians of every scale: a row each of `frequencies`, `offset`, `length`."""
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    reach = torch.ceil(scales * -torch.special.ndtri(torch.tensor(TAIL_MASS / 2, dtype=torch.float64))).long()
    distances = torch.arange(int(reach.max()) + 1)
    root = scales[:, None] * math.sqrt(2)
    mass = 0.5 * (torch.erfc((distances - 0.5) / root) - torch.erfc((distances + 0.5) / root))
    escape = torch.erfc((reach + 0.5) / root[:, 0])
    return symmetric_tables(mass.numpy(), escape.numpy(), reach.numpy())


def symmetric_tables(
    mass: NDArray[np.float64], escape: NDArray[np.float64], reach: NDArray[np.int64]
) -> dict[str, Tensor]:
    """`frequencies`, `offset` and `length` of tables of the whole numbers from −reach to reach, and the escape.

    mass: (rows, at least reach + 1), the share of a value, and of its negative, by its distance from 0. escape, reach:
    (rows,). Rows need not be normalised.
    """
    values = np.arange(2 * reach.max() + 1) - reach[:, None]
    shares = np.take_along_axis(mass, np.minimum(np.abs(values), mass.shape[1] - 1), axis=1)
    pmf = np.zeros((len(reach), values.shape[1] + 1))
    pmf[:, :-1] = np.where(values <= reach[:, None], shares, 0.0)
    pmf[np.arange(len(reach)), 2 * reach + 1] = escape
    length = (2 * reach + 2).astype(np.int32)
    return {
        "frequencies": torch.from_numpy(integer_frequencies(pmf, length)),
        "offset": torch.from_numpy(-reach.astype(np.int32)),
        "length": torch.from_numpy(length),
    }


def _exponent(values: Tensor) -> int:
    """The least e with |values| < 2^e."""
    return math.frexp(float(values.abs().max()))[1]
