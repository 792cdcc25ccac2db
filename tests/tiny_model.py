"""A tiny codec with random weights, made without training: for tests of whatever needs a model folder."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.tables import integer_frequencies

Layers = list[dict[str, Any]]


def tiny_model_folder(path: Path, name: str = "balle", N: int = 8, seed: int = 0) -> Path:
    """Write a model folder of `balle`, `balle-encoder`, `balle-li` or `balle-li-roi` with `N` channels; returns `path`."""
    tiny_model(name, N, seed).save(path)
    return path


def tiny_model(name: str = "balle", N: int = 8, seed: int = 0) -> ModelFolder:
    networks = _networks(name, N)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for network, layers in networks.items():
        for index, layer in enumerate(layers):
            for tensor, value in _weights(layer, generator).items():
                tensors[f"{network}.{index}.{tensor}"] = value
    tensors |= _tables("y", N, seed)
    description = {
        "format": 1, "name": name, "N": N, "downsampling": 32 if name == "balle-encoder" else 16, "lmbda": 0.01,
        "networks": networks, "tables": {"y": {"kind": "factorized", "precision": 16}}, "training": {},
    }  # fmt: skip
    if name == "balle-li-roi":
        _make_conditional(description, tensors, N, generator)
    return ModelFolder(description, tensors)


def _make_conditional(description: Any, tensors: dict[str, torch.Tensor], N: int, generator: torch.Generator) -> None:
    """Give a model side information: a map of two channels, and Gaussian-like tables of 16 widths."""
    channels, tables = 2, 16
    h_a = [_conv(N + 1, N, 3, 1), {"type": "relu"}, _conv(N, channels, 5, 2)]
    h_s = [_deconv(channels + 4, N, 5, 2) | {"shift": 8}, {"type": "relu"}, _conv(N, 2 * N, 1, 1) | {"shift": 8}]
    for index, layer in enumerate(h_a):
        tensors |= {f"h_a.{index}.{name}": 0.2 * value for name, value in _weights(layer, generator).items()}
    for index, layer in enumerate(h_s):
        for name, value in _weights(layer, generator).items():
            tensors[f"h_s.{index}.{name}"] = (30 * value).round().int()
    context = [_conv(N // 2, N, 3, 1) | {"shift": 8}, {"type": "relu"}, _conv(N, 2 * N, 1, 1) | {"shift": 8}]
    for index, layer in enumerate(context):
        for name, value in _weights(layer, generator).items():
            tensors[f"h_c.{index}.{name}"] = (10 * value).round().int()
    # Indices about 8 and, of the last channel, about 0; with the shift and the fraction of 8 bits each.
    tensors["h_s.2.bias"][N:] = torch.tensor([8] * (N - 1) + [0]).int() * 2**16
    del tensors["tables.y.median"]
    tensors |= _tables("y", tables, 0, medians=False) | _tables("z", channels, 1)
    tensors["tables.z.median"] = (256 * tensors["tables.z.median"]).round() / 256
    gain = torch.linspace(0.4, 0.8, N)
    tensors |= {"encoder_gain": gain, "decoder_gain": -gain}
    description["networks"]["h_a"] = h_a
    description["integer_networks"] = {"h_s": h_s, "h_c": context}
    description["tables"] = {
        "y": {"kind": "conditional", "precision": 16},
        "z": {"kind": "factorized", "precision": 16},
    }
    description["importance"] = {"steps": 8, "limit": 16}


def _networks(name: str, N: int) -> dict[str, Layers]:
    first, gdn = _conv(3, N, 9, 4), {"type": "gdn", "channels": N, "inverse": False}
    igdn, last = gdn | {"inverse": True}, _deconv(N, 3, 9, 4)
    down, up = _conv(N, N, 5, 2), _deconv(N, N, 5, 2)
    if name == "balle-encoder":
        return {"g_a": [first, gdn, down, gdn, down, gdn, down], "g_s": [up, igdn, up, igdn, up, igdn, last]}
    if name == "balle-li":
        point, sigmoid = _conv(N, N, 1, 1), {"type": "sigmoid"}
        return {
            "features": [first, gdn, down, gdn, down, gdn],
            "latents": [point],
            "importance": [point, sigmoid, point, sigmoid, _conv(N, 1, 1, 1), sigmoid],
            "g_s": [point, igdn, up, igdn, up, igdn, last],
        }
    return {"g_a": [first, gdn, down, gdn, down], "g_s": [up, igdn, up, igdn, last]}


def _conv(entering: int, leaving: int, kernel: int, stride: int) -> dict[str, Any]:
    return {"type": "conv", "in": entering, "out": leaving, "kernel": kernel, "stride": stride, "padding": kernel // 2}


def _deconv(entering: int, leaving: int, kernel: int, stride: int) -> dict[str, Any]:
    return _conv(entering, leaving, kernel, stride) | {"type": "deconv", "output_padding": stride - 1}


def _weights(layer: dict[str, Any], generator: torch.Generator) -> dict[str, torch.Tensor]:
    if layer["type"] == "gdn":
        channels = layer["channels"]
        return {"beta": torch.ones(channels), "gamma": 0.1 * torch.eye(channels) + 0.01}
    if layer["type"] in ("sigmoid", "relu"):
        return {}
    entering, leaving, kernel, stride = (layer[key] for key in ("in", "out", "kernel", "stride"))
    deconv = layer["type"] == "deconv"
    shape = (entering, leaving, kernel, kernel) if deconv else (leaving, entering, kernel, kernel)
    gain = stride if deconv else 1
    spread = (6 if leaving != 3 else 0.5) * gain / (entering * kernel * kernel) ** 0.5
    weight = spread * torch.randn(shape, generator=generator)
    return {"weight": weight, "bias": torch.full((leaving,), 0.5 if leaving == 3 else 0.1)}


def _tables(latent: str, rows: int, seed: int, medians: bool = True) -> dict[str, torch.Tensor]:
    """Two-sided geometric distributions of different widths, row by row."""
    widths = np.linspace(0.5, 4.0, rows)
    reach = np.ceil(3 * widths).astype(np.int32)
    length = 2 * reach + 2
    pmf = np.zeros((rows, int(length.max())))
    for row, (width, radius) in enumerate(zip(widths, reach, strict=True)):
        pmf[row, : 2 * radius + 1] = np.exp(-np.abs(np.arange(-radius, radius + 1)) / width)
        pmf[row, 2 * radius + 1] = 1e-3 * pmf[row].sum()
    tensors = {
        f"tables.{latent}.frequencies": torch.from_numpy(integer_frequencies(pmf, length)),
        f"tables.{latent}.offset": torch.from_numpy(-reach),
        f"tables.{latent}.length": torch.from_numpy(length),
    }
    if medians:
        drawn = np.random.default_rng(seed).uniform(-0.5, 0.5, rows).astype(np.float32)
        tensors[f"tables.{latent}.median"] = torch.from_numpy(drawn)
    return tensors
