"""Which inputs decide an output, and the tiles that follow from it."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from balle_li.models.base import build
from balle_li.models.layers import GDN, conv, deconv
from balle_li.registry import ModelConfig
from balle_li.tiling import Untileable, can_be_tiled, input_span, inputs_of, scale, tiles, within


class Residual(nn.Module):
    """Declares its reach; halves the sides if told."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels, 3, stride), conv(channels, channels, 3, 1)
        self.skip = conv(channels, channels, 1, stride)
        self.scale, self.reach = Fraction(1, stride), 2 + stride

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.second(self.first(x).relu())


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean(dim=(2, 3), keepdim=True)


def touched(module: nn.Module, inputs: int, channels: int, start: int, stop: int) -> tuple[int, int]:
    """The stretch of inputs that outputs [start, stop) depend on, by their gradient."""
    x = torch.rand(1, channels, 32, inputs, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(module.double()(x)[..., start:stop].square().sum(), x)
    found = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    return int(found[0]), int(found[-1]) + 1


@pytest.mark.parametrize(
    "module",
    [
        conv(4, 4, 3, 1),
        conv(4, 4, 9, 4),
        conv(4, 4, 5, 2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 4, stride=2, padding=1),
        deconv(4, 4, 5, 2),
        deconv(4, 3, 9, 4),
        nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1),
        nn.Sequential(conv(4, 4, 5, 2), GDN(4), nn.LeakyReLU(), nn.Sequential(conv(4, 4, 3, 1), deconv(4, 4, 5, 2))),
    ],
    ids=lambda module: str(module).split("\n")[0],
)
def test_input_span_is_exactly_what_outputs_depend_on(module):
    outputs = int(64 * scale(module))
    start, stop = outputs // 2 - 3, outputs // 2 + 2
    assert touched(module, 64, 4, start, stop) == input_span(module, start, stop)


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-encoder-5", "balle-li", "balle-li-roi"])
def test_the_span_of_each_models_transforms_is_exact(name):
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": 4}))
    for part, channels, inputs in ((model.g_a, 3, 512), (model.g_s, 16 if name == "balle-li-roi" else 4, 16)):
        outputs = int(inputs * scale(part))
        start, stop = outputs // 2 - 2, outputs // 2 + 1
        assert touched(part, inputs, channels, start, stop) == input_span(part, start, stop)
        assert scale(part) in (Fraction(1, model.downsampling), model.downsampling)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_declared_reach_covers_what_outputs_depend_on(stride):
    module = nn.Sequential(Residual(4), Residual(4, stride))
    assert scale(module) == Fraction(1, stride)
    first, last = touched(module, 64, 4, 10, 14)
    start, stop = input_span(module, 10, 14)
    assert start <= first and last <= stop and stop - start < 64


@pytest.mark.parametrize(("module", "factor"), [(nn.PixelShuffle(2), 2), (nn.PixelUnshuffle(2), Fraction(1, 2))])
def test_pixels_that_are_shuffled_stay_in_their_block(module, factor):
    assert scale(module) == factor
    start, stop = input_span(module, 7, 12)
    first, last = touched(module, 32, 4, 7, 12)
    assert (start, stop) == (first, last)


@pytest.mark.parametrize(
    "module",
    [
        Attention(),
        nn.Sequential(conv(3, 3, 3, 1), Attention()),
        nn.Conv2d(3, 3, 3),  # not "same"
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 3, (3, 1), padding=(1, 0)),
        nn.ConvTranspose2d(3, 3, 5, stride=2, padding=2),
        nn.GroupNorm(1, 3),
    ],
)
def test_what_is_neither_known_nor_declared_cannot_be_tiled(module):
    assert not can_be_tiled(module)
    with pytest.raises(Untileable):
        scale(module)


def test_tiles_cover_the_grid_once_and_report():
    seen, done = torch.zeros(7, 5), []
    for row, column in tiles(7, 5, 3, done.append):
        seen[row, column] += 1
    assert (seen == 1).all() and len(done) == 6 and done == sorted(done) and done[-1] == 1.0


def test_inputs_are_whole_groups_within_the_picture():
    module = conv(3, 3, 5, 2)
    assert inputs_of(module, slice(0, 2), 40) == slice(0, 5)
    assert inputs_of(module, slice(4, 6), 40, unit=4) == slice(4, 16)
    assert inputs_of(module, slice(18, 20), 40) == slice(34, 40)
    assert within(slice(4, 6), slice(4, 16), 1, 2) == slice(2, 4)
