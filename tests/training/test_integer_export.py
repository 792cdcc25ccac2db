import numpy as np
import pytest
import torch
import torch.nn.functional as F

from balle_li.errors import BalleLiError
from balle_li.models.balle_li_roi import BalleLiRoi
from balle_li.models.gaussian import SCALES, scale_of
from balle_li.training.integer_export import FRACTION_BITS, TAIL_MASS, gaussian_tables, integer_layers


def run_integers(layers, tensors, x: torch.Tensor) -> torch.Tensor:
    """The arithmetic that docs/bitstream.md describes, on whole numbers in float64."""
    for index, layer in enumerate(layers):
        if layer["type"] == "relu":
            x = x.clamp(min=0)
            continue
        weight, bias = (tensors[f"h_s.{index}.{name}"].double() for name in ("weight", "bias"))
        if layer["type"] == "conv":
            total = F.conv2d(x, weight, bias, layer["stride"], layer["padding"])
        else:
            total = F.conv_transpose2d(x, weight, bias, layer["stride"], layer["padding"], layer["output_padding"])
        x = torch.floor((total + 2 ** (layer["shift"] - 1)) / 2 ** layer["shift"])
    return x


def test_whole_numbers_compute_what_the_trained_network_does():
    torch.manual_seed(0)
    model = BalleLiRoi(16)
    layers, tensors = integer_layers(model.h_s, "h_s")
    assert all(tensor.dtype == torch.int32 for tensor in tensors.values())
    x = torch.randint(-2000, 2000, (1, 8, 5, 7))
    with torch.no_grad():
        expected = model.h_s(x / 2**FRACTION_BITS)
    got = run_integers(layers, tensors, x.double()) / 2**FRACTION_BITS
    assert float((got - expected).abs().max()) < 0.02
    assert expected.std() > 0.05


def test_weights_beyond_whole_numbers_are_refused():
    model = BalleLiRoi(8)
    model.h_s[0].bias.data[0] = 1e9
    with pytest.raises(BalleLiError, match="diverged"):
        integer_layers(model.h_s, "h_s")


def test_gaussian_tables_are_the_gaussians():
    tables = gaussian_tables()
    frequencies, length = tables["frequencies"].numpy(), tables["length"].numpy()
    assert (frequencies.sum(axis=1) == 2**16).all()
    for row in (1, 20, 40, SCALES - 1):
        values = torch.arange(length[row] - 1) + tables["offset"][row]
        normal = torch.distributions.Normal(0.0, scale_of(torch.tensor(row, dtype=torch.float64)))
        expected = normal.cdf(values.double() + 0.5) - normal.cdf(values.double() - 0.5)
        got = frequencies[row, : length[row] - 1] / 2**16
        np.testing.assert_allclose(got, expected, atol=(length[row] + 2) * 2**-16)
        assert 1 - float(expected.sum()) < TAIL_MASS
