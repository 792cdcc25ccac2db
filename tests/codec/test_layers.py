import pytest
import torch
from tiny_model import tiny_model

from balle_li.codec.layers import check_layers, input_span, scale
from balle_li.codec.networks import build_network
from balle_li.errors import BalleLiError


@pytest.mark.parametrize(("name", "network"), [("balle", "g_a"), ("balle-encoder", "g_s"), ("balle-li", "features")])
def test_input_span_is_exactly_what_outputs_depend_on(name, network):
    model = tiny_model(name, N=4)
    layers = model.network(network)
    built = build_network(layers, model.weights(network), torch.device("cpu"), torch.float64)
    ratio = scale(layers)
    side = 256 if ratio < 1 else 16
    outputs = int(side * ratio)
    x = torch.rand(1, 3 if ratio < 1 else 4, 32 if ratio < 1 else 4, side, dtype=torch.float64, requires_grad=True)
    start, stop = outputs // 2 - 3, outputs // 2 + 2
    (gradient,) = torch.autograd.grad(built(x)[..., start:stop].square().sum(), x)
    touched = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert (int(touched[0]), int(touched[-1]) + 1) == input_span(layers, start, stop)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"type": "dense"}, "must have a type"),
        ({"type": "gdn", "channels": 4, "inverse": 1}, "inverse must be true or false"),
        ({"type": "gdn", "channels": 10**9, "inverse": False}, "channels"),
        ({"type": "conv", "in": 3, "out": 4, "kernel": 5, "stride": 0, "padding": 2}, "stride"),
        ({"type": "conv", "in": 3, "out": 4, "kernel": 5, "stride": 2, "padding": 0}, "padding"),
        ({"type": "conv", "in": 3, "out": 4.0, "kernel": 5, "stride": 2, "padding": 2}, "whole number"),
    ],
)
def test_impossible_layers_are_refused(layer, words):
    with pytest.raises(BalleLiError, match=words):
        check_layers([layer], "networks.g_a")


def test_layers_must_follow_on_one_another():
    point = {"type": "conv", "in": 3, "out": 4, "kernel": 1, "stride": 1, "padding": 0}
    with pytest.raises(BalleLiError, match=r"g_a\[1\] takes 3 channels but is given 4"):
        check_layers([point, point], "g_a")
