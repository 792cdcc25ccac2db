import pytest
import torch
from tiny_model import tiny_model
from torch import nn

from balle_li.errors import BalleLiError
from balle_li.latents.integer_network import (
    BIAS_BITS,
    FRACTION,
    LIMIT,
    MAX_SHIFT,
    WEIGHT_BITS,
    IntegerNetwork,
    integer_tensors,
)
from balle_li.models.base import build
from balle_li.models.layers import deconv
from balle_li.registry import ModelConfig

ONE_INPUT = nn.Sequential(nn.Conv2d(1, 1, 1))


def network(weight: list[int], bias: int = 0, shift: int = 0) -> IntegerNetwork:
    """One 1×1 convolution to one output."""
    tensors = {
        "h.0.weight": torch.tensor(weight).int().view(1, -1, 1, 1),
        "h.0.bias": torch.tensor([bias]).int(),
        "h.0.shift": torch.tensor([shift]).int(),
    }
    return IntegerNetwork("h", nn.Sequential(nn.Conv2d(len(weight), 1, 1)), tensors)


def values(*numbers: float) -> torch.Tensor:
    """One position of so many channels."""
    return torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1, 1)


@pytest.mark.parametrize(("value", "expected"), [(5, 3), (6, 3), (-5, -2), (-6, -3), (-7, -3), (7, 4)])
def test_a_shift_rounds_halves_up(value, expected):
    assert float(network([1], shift=1)(values(value))) == expected


def test_values_are_clipped_before_and_after_every_layer():
    for value in (-1e12, 1e12):
        assert float(network([1000])(values(value))) == (LIMIT if value > 0 else -LIMIT)
        assert float(network([1], bias=5, shift=1)(values(value))) == (LIMIT / 2 + 3 if value > 0 else -LIMIT / 2 + 3)


def test_large_sums_are_exact_in_any_order():
    """Near 2^53, float32 or another order of float64 fractions would differ; whole numbers do not."""
    weight = [2**28 - 1, -(2**28) + 3, 12345, 1]
    entering = [LIMIT, LIMIT - 1, 77, -3]
    exact = sum(w * v for w, v in zip(weight, entering, strict=True)) + 9
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        weights, x = [weight[i] for i in order], values(*(entering[i] for i in order))
        assert int(network(weights, 9)(x)) == max(-LIMIT, min(LIMIT, exact))
        assert int(network(weights, 9, 24)(x)) == (exact + 2**23) // 2**24


def test_batches_and_layouts_agree():
    latents = tiny_model("balle-li-roi").model.latent_codec
    h_s = IntegerNetwork("h_s", latents.h_s, integer_tensors("h_s", latents.h_s))
    entering = torch.randint(-3000, 3000, (4, 6, 9, 7), generator=torch.Generator().manual_seed(0)).double()
    together = h_s(entering)
    assert together.shape == (4, 64, 18, 14) and together.std() > 100
    assert torch.equal(together, together.round())
    assert all(torch.equal(h_s(one[None])[0], row) for one, row in zip(entering, together, strict=True))
    assert torch.equal(h_s(entering.to(memory_format=torch.channels_last)), together)


def test_sums_that_might_not_be_exact_are_refused():
    network([2**29])
    network([2**28, -(2**28)])
    for weight, bias in (([2**30], 0), ([2**29, -(2**29)], 0), ([2**30 - 1], 2**23)):
        with pytest.raises(BalleLiError, match=r"tables\.h\.0 holds weights whose sums can reach 2\^53"):
            network(weight, bias)


@pytest.mark.parametrize("shift", [-1, MAX_SHIFT + 1])
def test_a_shift_out_of_range_is_refused(shift):
    network([1], shift=MAX_SHIFT)
    with pytest.raises(BalleLiError, match=rf"h\.0\.shift must be a whole number from 0 to 24, not {shift}"):
        network([1], shift=shift)


@pytest.mark.parametrize("part", ["weight", "bias", "shift"])
def test_tensors_of_another_kind_or_shape_are_refused(part):
    tensors = integer_tensors("h", ONE_INPUT)
    found = tensors[f"h.0.{part}"]
    for wrong in (found.float(), found.long(), torch.cat((found, found))):
        with pytest.raises(BalleLiError, match=rf"tables\.h\.0\.{part} must be int32"):
            IntegerNetwork("h", ONE_INPUT, tensors | {f"h.0.{part}": wrong})
    with pytest.raises(BalleLiError, match=rf"tables\.h\.0\.{part} must be int32"):
        IntegerNetwork("h", ONE_INPUT, {name: value for name, value in tensors.items() if not name.endswith(part)})


def test_torchs_own_transposed_convolution_has_whole_numbers_too():
    own, torchs = deconv(2, 20, 5, 2), nn.ConvTranspose2d(2, 20, 5, 2, padding=2, output_padding=1)
    torchs.load_state_dict(own.state_dict())
    first, second = (
        IntegerNetwork("h", network, integer_tensors("h", network)) for network in map(nn.Sequential, (own, torchs))
    )
    numbers = torch.randint(-1000, 1000, (1, 2, 3, 4)).double()
    assert torch.equal(first(numbers), second(numbers))


def test_other_layers_have_no_whole_numbers():
    with pytest.raises(BalleLiError, match=r"h\.1 is a Sigmoid"):
        IntegerNetwork("h", nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sigmoid()), integer_tensors("h", ONE_INPUT))


@pytest.mark.parametrize("part", ["h_s", "h_c"])
def test_whole_numbers_compute_what_the_trained_network_does(part):
    torch.manual_seed(0)
    trained = getattr(build(ModelConfig("balle-li-roi", {"N": 16})).latent_codec, part)
    tensors = integer_tensors(part, trained)
    assert all(tensor.dtype == torch.int32 for tensor in tensors.values())
    assert sorted(tensors) == sorted(
        f"{part}.{i}.{name}" for i in range(0, len(trained), 2) for name in ("weight", "bias", "shift")
    )
    x = torch.randint(-2000, 2000, (1, trained[0].in_channels, 5, 7))
    with torch.no_grad():
        expected = trained(x / FRACTION)
    got = IntegerNetwork(part, trained, tensors)(x.double()) / FRACTION
    assert expected.std() > 0.01
    assert float((got - expected).abs().max()) < 0.05


def test_weights_are_kept_as_finely_as_they_fit():
    layer = nn.Conv2d(2, 2, 1)
    for size in (1e-9, 1e-3, 0.9, 1.0, 700.0):
        with torch.no_grad():
            layer.weight.uniform_(-size, size)
            layer.weight[0, 0] = size
            layer.bias.uniform_(-size, size)
        tensors = integer_tensors("h", nn.Sequential(layer))
        shift = int(tensors["h.0.shift"])
        largest = int(tensors["h.0.weight"].abs().max())
        assert largest <= 2**WEIGHT_BITS and int(tensors["h.0.bias"].abs().max()) <= 2**BIAS_BITS
        assert shift == MAX_SHIFT or largest >= 2 ** (WEIGHT_BITS - 1)
        torch.testing.assert_close(tensors["h.0.weight"] / 2**shift, layer.weight.detach(), rtol=0, atol=0.5 / 2**shift)


@pytest.mark.parametrize(
    ("number", "words"), [(1e9, "too large"), (float("inf"), "not finite"), (float("nan"), "not finite")]
)
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_weights_beyond_whole_numbers_are_refused(part, number, words):
    layer = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        getattr(layer, part).fill_(number)
    with pytest.raises(BalleLiError, match=rf"h\.0 .*{words}.*diverged"):
        integer_tensors("h", nn.Sequential(layer))
