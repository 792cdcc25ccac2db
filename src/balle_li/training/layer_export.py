"""Layers of a trained network as a model folder has them."""

from typing import Any

from torch import Tensor, nn

from balle_li.models.layers import GDN


def layer(module: nn.Module) -> dict[str, Any]:
    """A layer as model.json has it."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        layer: dict[str, Any] = {
            "type": "conv" if isinstance(module, nn.Conv2d) else "deconv",
            "in": module.in_channels,
            "out": module.out_channels,
            "kernel": module.kernel_size[0],
            "stride": module.stride[0],
            "padding": int(module.padding[0]),
        }
        return layer | ({"output_padding": module.output_padding[0]} if layer["type"] == "deconv" else {})
    if isinstance(module, GDN):
        return {"type": "gdn", "channels": module.beta.numel(), "inverse": module.inverse}
    if isinstance(module, nn.Sigmoid | nn.ReLU):
        return {"type": type(module).__name__.lower()}
    raise TypeError(f"a model folder has no layer {type(module).__name__}")


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A layer's tensors under the names that model.safetensors gives them."""
    if isinstance(module, GDN):
        beta, gamma = module.finished_parameters()
        return {"beta": beta, "gamma": gamma}
    return dict(module.state_dict())
