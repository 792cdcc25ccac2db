"""Transforms that start as a Karhunen–Loève transform of photographs with gain control, instead of at random."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.models.layers import GDN

Matrix = NDArray[np.float64]

# Covariance of two pixels' colours at distance d: COLOURS · exp(−0.035 · d^0.7), fitted to photographs; mean grey.
_COLOURS = np.array([[0.087, 0.073, 0.063], [0.073, 0.081, 0.075], [0.063, 0.075, 0.090]])
_DECAY, _POWER, _MEAN = 0.035, 0.7, 0.46
_RANDOM_FRACTION = 0.03  # of the usual random weights, added so that no two channels stay alike
# Gammas of the first two GDN, and of the IGDN that undo them: for a power of ½, and for a smaller one.
_CONTRAST = ((0.45, 1.35), (0.23, 0.4))
_CONTRAST_OF_SMALL_POWERS = ((0.45, 0.45), (0.23, 0.23))
_SILENT = 0.0003  # gamma where a channel has no say
_STEP = 51.0  # of the latents, on the 0–255 scale: with D = step²/12 and 6 dB a bit, the best one at lmbda = 0.01


_skipped: ContextVar[bool] = ContextVar("skipped", default=False)


@contextmanager
def without_start() -> Iterator[None]:
    """Within, `start_as_klt` does nothing: for models whose weights are about to be loaded."""
    token = _skipped.set(True)
    try:
        yield
    finally:
        _skipped.reset(token)


@torch.no_grad()
def start_as_klt(analysis: Iterable[nn.Module], synthesis: Iterable[nn.Module]) -> None:
    """Set the layers of an analysis transform, and of the synthesis transform that undoes it layer by layer.

    Every convolution maps the block of inputs under its stride to the principal components of that block, of pixels with
    the covariance of photographs; the synthesis does the reverse. Training then begins near a transform codec with
    blocks of the whole downsampling, and has the overlap of the kernels to learn.

    The first two GDN start as gain control: what a block holds apart from its local mean divides it, as contrast masks
    errors. From GDN that starts near the identity training hardly finds there, since gamma, a square of what is learned,
    has next to no gradient at 0. docs/experiments.md says what each is worth.
    """
    if _skipped.get():
        return
    analysis, synthesis = list(analysis), list(synthesis)
    forwards = [layer for layer in analysis if isinstance(layer, nn.Conv2d)]
    backwards = [layer for layer in synthesis if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    gain = (255.0 / _STEP) ** (1 / len(forwards))
    basis, side = np.eye(3)[:, None, None, :], 1  # (channels, side, side, 3): every channel as a function of pixels
    for number, (forward, backward) in enumerate(zip(forwards, reversed(backwards), strict=True)):
        stride = forward.stride[0]
        blocks = _placed(basis, stride)
        side *= stride
        components = _principal(blocks.reshape(len(blocks), -1), side)[: forward.out_channels]
        basis = np.tensordot(components, blocks, 1)
        taps = torch.from_numpy(components).float().view(len(components), stride, stride, -1).permute(0, 3, 1, 2)
        _set(forward.weight, taps * gain)
        # A transposed convolution has its inputs first.
        _set(backward.weight, (taps.transpose(0, 1) if isinstance(backward, nn.Conv2d) else taps) / gain)
        assert forward.bias is not None and backward.bias is not None
        forward.bias.zero_()
        backward.bias.zero_()
        if number == 0:
            forward.bias[: len(taps)] = -_MEAN * gain * taps.sum(dim=(1, 2, 3))
            backward.bias.fill_(_MEAN)
    gdn = [layer for layer in analysis if isinstance(layer, GDN)]
    igdn = [layer for layer in synthesis if isinstance(layer, GDN)][::-1]
    learned = any(layer.power is not None for layer in gdn)
    contrast = _CONTRAST_OF_SMALL_POWERS if learned else _CONTRAST
    for number, (gammas, *layers) in enumerate(zip(contrast, gdn, igdn, strict=False)):
        for gamma, layer in zip(gammas, layers, strict=True):
            _control_gain(layer, gamma, local_means=3 * 4**number)


def _placed(basis: Matrix, stride: int) -> Matrix:
    """Each channel's function at each of the stride² places of a block: `(stride·stride·channels, S, S, 3)`."""
    channels, side = basis.shape[:2]
    blocks = np.zeros((stride, stride, channels, stride * side, stride * side, 3))
    for row in range(stride):
        for column in range(stride):
            rows, columns = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            blocks[row, column, :, rows, columns] = basis
    return blocks.reshape(-1, *blocks.shape[3:])


def _principal(functions: Matrix, side: int) -> Matrix:
    """The principal components of what orthonormal functions of a block's pixels `(n, side·side·3)` see: rows, largest first."""
    row, column = np.divmod(np.arange(side * side), side)
    distance = np.hypot(row[:, None] - row, column[:, None] - column)
    covariance = np.kron(np.exp(-_DECAY * distance**_POWER), _COLOURS)
    _, vectors = np.linalg.eigh(functions @ covariance @ functions.T)
    return np.ascontiguousarray(vectors.T[::-1])


def _set(weight: Tensor, taps: Tensor) -> None:
    """Put `(C, D, s, s)` under the stride of a kernel whose middle tap is the block's first pixel."""
    channels, inputs, side, _ = taps.shape
    start = weight.shape[-1] // 2
    weight.mul_(_RANDOM_FRACTION)
    weight[:channels, :inputs, start : start + side, start : start + side] += taps


def _control_gain(layer: GDN, gamma: float, local_means: int) -> None:
    """Let all channels but the first `local_means`, those of the largest variance, divide each other."""
    table = torch.full_like(layer.gamma, _SILENT)
    table[local_means:, local_means:] += gamma
    layer.set_gamma(table)
