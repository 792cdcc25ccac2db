import pytest
import torch
from tiny_model import tiny_model

from balle_li.codec.integer_network import LIMIT, IntegerNetwork, check_integer_layers
from balle_li.errors import BalleLiError


def point(shift, entering=1, leaving=1):
    return {"type": "conv", "in": entering, "out": leaving, "kernel": 1, "stride": 1, "padding": 0, "shift": shift}


def tensors(weight, bias):
    return {"0.weight": torch.tensor(weight).int().view(1, -1, 1, 1), "0.bias": torch.tensor([bias]).int()}


@pytest.mark.parametrize(("value", "expected"), [(5, 3), (6, 3), (-5, -2), (-6, -3), (-7, -3), (7, 4)])
def test_a_shift_rounds_halves_up(value, expected):
    network = IntegerNetwork([point(1)], tensors([1], 0))
    assert float(network(torch.full((1, 1, 1, 1), float(value), dtype=torch.float64))) == expected


def test_values_are_clipped_before_and_after_every_layer():
    network = IntegerNetwork([point(0)], tensors([1000], 0))
    out = network(torch.tensor([-1e12, 1e12], dtype=torch.float64).view(1, 1, 1, 2))
    assert out.flatten().tolist() == [-LIMIT, LIMIT]


def test_large_sums_are_exact_in_any_order():
    """Near 2^53, float32 or another order of float64 fractions would differ; whole numbers do not."""
    weight = [2**28 - 1, -(2**28) + 3, 12345, 1]
    layers = [point(0, entering=4)]
    values = torch.tensor([LIMIT, LIMIT - 1, 77, -3], dtype=torch.float64)
    exact = sum(int(w) * int(v) for w, v in zip(weight, values, strict=True)) + 9
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        network = IntegerNetwork(layers, tensors([weight[i] for i in order], 9))
        shifted = IntegerNetwork([point(24, entering=4)], tensors([weight[i] for i in order], 9))
        out = network(values[order].view(1, 4, 1, 1))
        assert int(out) == max(-LIMIT, min(LIMIT, exact))
        assert int(shifted(values[order].view(1, 4, 1, 1))) == (exact + 2**23) // 2**24


def test_tiles_and_batches_and_layouts_agree():
    model = tiny_model("balle-li-roi")
    network = IntegerNetwork(model.description["integer_networks"]["h_s"], model.weights("h_s"))
    values = torch.randint(-3000, 3000, (4, 6, 9, 7), generator=torch.Generator().manual_seed(0)).double()
    together = network(values)
    assert together.shape == (4, 16, 18, 14) and together.std() > 100
    assert all(torch.equal(network(one[None])[0], row) for one, row in zip(values, together, strict=True))
    assert torch.equal(network(values.to(memory_format=torch.channels_last)), together)


def test_sums_that_might_not_be_exact_are_refused():
    check_integer_layers([point(0)], tensors([2**29], 0), "h_s")
    with pytest.raises(BalleLiError, match=r"2\^53"):
        check_integer_layers([point(0)], tensors([2**30], 0), "h_s")
