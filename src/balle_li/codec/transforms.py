"""The transforms of a model between pixels and latents: tile by tile, without seams.

A tile is given every input that decides its outputs, so the tiles' outputs are those of the whole picture up to the
rounding of floating-point sums. Transforms whose geometry is not known (`balle_li.tiling`) run on the whole picture.
"""

import copy
import functools
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.errors import BalleLiError
from balle_li.models.base import CompressionModel
from balle_li.models.layers import GDN, Deconvolution, RepeatingConvolution, SubpixelDeconvolution
from balle_li.tiling import Progress, Tile, can_be_tiled, inputs_of, tiles, within

TILE_PIXELS = 1024
MAX_PIXELS = 2**28
MAX_WHOLE_PIXELS = 2**24  # of pictures that go through in one piece
_PIXEL_CENTRE = 127.5
_CONVOLUTIONS = (nn.Conv2d, RepeatingConvolution, nn.ConvTranspose2d, Deconvolution, SubpixelDeconvolution)


class Transforms:
    """Analysis (pixels to latents) and synthesis (latents to pixels) of one model on one device.

    dtype: in which the networks compute, by default the device's fastest.
    """

    def __init__(
        self,
        model: CompressionModel,
        device: torch.device,
        dtype: torch.dtype | None = None,
        tile_pixels: int = TILE_PIXELS,
    ) -> None:
        self.device, self.downsampling, self._model = device, model.downsampling, model
        self._g_a, self._g_s = (
            copy.deepcopy(part).requires_grad_(False).eval().to(device).to(memory_format=torch.channels_last)
            for part in (model.g_a, model.g_s)
        )
        # Pixels are fed as 0 to 255, which bfloat16 holds exactly, and leave centred on zero, where it has twice the
        # resolution: the outer convolutions take up the factor.
        first, last = _outer_convolution(self._g_a, 0), _outer_convolution(self._g_s, -1)
        self._folded = first is not None and last is not None
        self.tiled = can_be_tiled(model.g_a) and can_be_tiled(model.g_s)
        if first is not None and last is not None:
            first.weight.mul_(1 / 255)
            last.weight.mul_(255)
            assert last.bias is not None
            last.bias.mul_(255).sub_(_PIXEL_CENTRE)
        # Of layers that are not known it is not known either how they do in bfloat16.
        self.dtype = (dtype or fastest_dtype(device)) if self._folded and self.tiled else torch.float32
        for module in (*self._g_a.modules(), *self._g_s.modules()):
            if isinstance(module, _CONVOLUTIONS):
                module.to(self.dtype)  # once, where autocast would do it in every call
            if isinstance(module, GDN | SubpixelDeconvolution):
                module.freeze()
        self._tile = max(1, tile_pixels // self.downsampling)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of latents of a picture."""
        multiple = self._model.latent_codec.multiple
        rows, columns = (-(-side // (self.downsampling * multiple)) * multiple for side in (height, width))
        return rows, columns

    def check_size(self, height: int, width: int) -> None:
        """Raise BalleLiError for a picture of more pixels, with what fills up its latents, than can be coded."""
        rows, columns = self.grid(height, width)
        pixels = rows * columns * self.downsampling**2
        if pixels > MAX_PIXELS:
            raise BalleLiError(f"the picture has {width}x{height} pixels; at most 2^28 can be compressed, cut it")
        if not self.tiled and pixels > MAX_WHOLE_PIXELS:
            raise BalleLiError(
                f"the picture has {width}x{height} pixels; {self._model.name} codes pictures in one piece (its layers do "
                "not declare their reach), at most 2^24 pixels: cut it"
            )

    @torch.inference_mode()
    def analyse(self, rgb: NDArray[np.uint8], progress: Progress | None = None) -> NDArray[np.float32]:
        """Latents (channels, rows, columns) of `rgb` (H, W, 3).

        The picture is continued to whole latents by repeating its last row and column.
        """

        def y(x: Tensor) -> Tensor:
            with self._precision():
                latents: Tensor = self._g_a(x if self._folded else x / 255)
                return latents

        return self._mapped(y, rgb, self.device, progress)

    @torch.inference_mode()
    def importance(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The importance map of the model's analysis transform, (rows, columns), None if it has none."""
        if type(self._model).importance is CompressionModel.importance:
            return None

        def importance(x: Tensor) -> Tensor:
            found = self._model.importance(x / 255)
            assert found is not None
            return found

        return self._mapped(importance, rgb, torch.device("cpu"), None)[0]

    @torch.inference_mode()
    def synthesise(
        self, latents: NDArray[np.float32], height: int, width: int, progress: Progress | None
    ) -> NDArray[np.uint8]:
        """The pixels (height, width, 3) of decoded latents (channels, rows, columns)."""
        rgb = np.empty((height, width, 3), dtype=np.uint8)
        _, rows, columns = latents.shape
        unit = self.downsampling
        for row, column in self._tiles(rows, columns, progress):
            area = (
                slice(row.start * unit, min(row.stop * unit, height)),
                slice(column.start * unit, min(column.stop * unit, width)),
            )
            top, left = (
                inputs_of(self._g_s, part, count) if self.tiled else slice(0, count)
                for part, count in zip(area, (rows, columns), strict=True)
            )
            y_hat = torch.from_numpy(latents[:, top, left])[None].to(self.device)
            # Truncation of v + 128 rounds v + 127.5.
            pixels = self._pixels(y_hat).add_(_PIXEL_CENTRE + 0.5).clamp_(0, 255).to(torch.uint8)
            inner = pixels[0][:, within(area[0], top, unit), within(area[1], left, unit)]
            rgb[area] = inner.permute(1, 2, 0).cpu().numpy()
        return rgb

    def differentiable_synthesis(self, y_hat: Tensor) -> Tensor:
        """y_hat (1, C, h, w) to pixels (1, 3, h·d, w·d), 0 to 255 but neither clipped nor rounded; gradients pass."""
        return self._pixels(y_hat.to(self.device)).cpu() + _PIXEL_CENTRE

    def _pixels(self, y_hat: Tensor) -> Tensor:
        """y_hat to pixels less their centre, fp32."""
        with self._precision():
            pixels: Tensor = self._g_s(y_hat.contiguous(memory_format=torch.channels_last))
        pixels = pixels.float()
        return pixels if self._folded else pixels * 255 - _PIXEL_CENTRE

    def _mapped(
        self,
        function: Callable[[Tensor], Tensor],
        rgb: NDArray[np.uint8],
        device: torch.device,
        progress: Progress | None,
    ) -> NDArray[np.float32]:
        """What `function` makes of the pixels (1, 3, h, w), 0 to 255, tile by tile: (channels, rows, columns)."""
        rows, columns = self.grid(*rgb.shape[:2])
        unit = self.downsampling
        mapped: NDArray[np.float32] | None = None
        for row, column in self._tiles(rows, columns, progress):
            top, left = (
                inputs_of(self._g_a, span, count * unit, unit) if self.tiled else slice(0, count * unit)
                for span, count in ((row, rows), (column, columns))
            )
            pixels = torch.from_numpy(_window(rgb, top, left)).to(device)
            values = function(pixels.permute(2, 0, 1)[None].float())[0]
            inner = within(row, top, 1, unit), within(column, left, 1, unit)
            if mapped is None:
                mapped = np.empty((len(values), rows, columns), dtype=np.float32)
            mapped[:, row, column] = values[:, *inner].float().cpu().numpy()
        assert mapped is not None
        return mapped

    def _tiles(self, rows: int, columns: int, progress: Progress | None) -> Iterator[Tile]:
        return tiles(rows, columns, self._tile if self.tiled else max(rows, columns), progress)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)


def _outer_convolution(module: nn.Module, end: int) -> nn.Conv2d | nn.ConvTranspose2d | None:
    """The convolution at one end of a transform (0 or −1), None where there is another layer."""
    while isinstance(module, nn.Sequential):
        module = module[end]
    if type(module) in _CONVOLUTIONS and module.bias is not None:
        return module  # type: ignore[return-value]
    return None


def _window(rgb: NDArray[np.uint8], rows: slice, columns: slice) -> NDArray[np.uint8]:
    """A part of `rgb`, its last row and column repeated where the part passes its end."""
    inner = rgb[rows, columns]
    below, right = rows.stop - rows.start - inner.shape[0], columns.stop - columns.start - inner.shape[1]
    if below or right:
        return np.pad(inner, ((0, below), (0, right), (0, 0)), mode="edge")
    return inner.copy()


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where a network runs faster in it, else float32.

    On a processor that is with AMX, or with AVX512-BF16 if it is not Intel's: without AMX a Xeon of 2023 trained 1.4
    and coded 1.3 times faster in float32. What a codec decodes does not depend on this choice, only pixels do, slightly.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        fast = torch.cpu._is_amx_tile_supported() or (torch.cpu._is_avx512_bf16_supported() and not _is_intel())
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


@functools.cache
def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return "Intel" in platform.processor()
