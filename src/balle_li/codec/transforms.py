"""The transforms of a model between pixels and latents: tile by tile, without seams.

A tile is given every input that decides its outputs, so the tiles' outputs are those of the whole picture up to the
rounding of floating-point sums.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from balle_li.codec.dtype import fastest_dtype
from balle_li.codec.layers import channels_in
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.networks import build_network, fold_input_scale, fold_output_scale
from balle_li.codec.tiles import Progress, inputs_of, tiles, within

TILE_PIXELS = 1024
_PIXEL_CENTRE = 127.5


class Transforms:
    """Analysis (pixels to latents) and synthesis (latents to pixels) of one model on one device."""

    def __init__(
        self, model: ModelFolder, device: torch.device, dtype: torch.dtype | None, tile_pixels: int = TILE_PIXELS
    ):
        self.device, self.dtype = device, dtype or fastest_dtype(device)
        self.downsampling: int = model.description["downsampling"]
        self._tile = max(1, tile_pixels // self.downsampling)
        self._channels = channels_in(model.network("g_s")) or 0
        plain = "g_a" in model.description["networks"]
        self._entry = "g_a" if plain else "features"
        self._entry_layers = model.network(self._entry)
        self._g_s_layers = model.network("g_s")
        networks = [self._entry] if plain else [self._entry, "latents", "importance"]
        # Pixels are fed as 0 to 255 and leave centred on zero, where bfloat16 has twice the resolution.
        weights = {name: model.weights(name) for name in [*networks, "g_s"]}
        weights[self._entry] = fold_input_scale(weights[self._entry], 1 / 255)
        weights["g_s"] = fold_output_scale(self._g_s_layers, weights["g_s"], 255, -_PIXEL_CENTRE)
        self._networks = {
            name: build_network(model.network(name), weights[name], device, self.dtype) for name in weights
        }

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of latents of a picture."""
        return -(-height // self.downsampling), -(-width // self.downsampling)

    @torch.inference_mode()
    def analyse(
        self, rgb: NDArray[np.uint8], progress: Progress | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Latents (channels, rows, columns) of `rgb` (H, W, 3), and the importance (rows, columns) of models with one.

        The picture is continued to whole latents by repeating its last row and column.
        """
        rows, columns = self.grid(*rgb.shape[:2])
        latents = np.empty((self._channels, rows, columns), dtype=np.float32)
        importance = None if self._entry == "g_a" else np.empty((rows, columns), dtype=np.float32)
        unit = self.downsampling
        for row, column in tiles(rows, columns, self._tile, progress):
            top, left = (
                inputs_of(self._entry_layers, span, count * unit, unit)
                for span, count in ((row, rows), (column, columns))
            )
            pixels = torch.from_numpy(_window(rgb, top, left)).to(self.device)
            y, mask = self._encode(pixels.permute(2, 0, 1)[None].to(self.dtype))
            inner = within(row, top, 1, unit), within(column, left, 1, unit)
            latents[:, row, column] = y[0][:, *inner].float().cpu().numpy()
            if importance is not None:
                importance[row, column] = mask[0, 0][inner].float().cpu().numpy()
        return latents, importance

    @torch.inference_mode()
    def synthesise(
        self, latents: NDArray[np.float32], height: int, width: int, progress: Progress | None
    ) -> NDArray[np.uint8]:
        """The pixels (height, width, 3) of decoded latents (channels, rows, columns)."""
        rgb = np.empty((height, width, 3), dtype=np.uint8)
        _, rows, columns = latents.shape
        unit = self.downsampling
        for row, column in tiles(rows, columns, self._tile, progress):
            area = (
                slice(row.start * unit, min(row.stop * unit, height)),
                slice(column.start * unit, min(column.stop * unit, width)),
            )
            top, left = inputs_of(self._g_s_layers, area[0], rows), inputs_of(self._g_s_layers, area[1], columns)
            y_hat = torch.from_numpy(latents[:, top, left])[None].to(self.device, self.dtype)
            # Truncation of v + 128 rounds v + 127.5.
            pixels = self._networks["g_s"](y_hat.contiguous(memory_format=torch.channels_last))
            pixels = pixels.float().add_(_PIXEL_CENTRE + 0.5).clamp_(0, 255).to(torch.uint8)
            inner = pixels[0][:, within(area[0], top, unit), within(area[1], left, unit)]
            rgb[area] = inner.permute(1, 2, 0).cpu().numpy()
        return rgb

    def differentiable_synthesis(self, y_hat: Tensor) -> Tensor:
        """y_hat (1, C, h, w) to pixels (1, 3, h·d, w·d), 0 to 255 but neither clipped nor rounded; gradients pass."""
        entering = y_hat.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        pixels: Tensor = self._networks["g_s"](entering).float()
        return pixels.cpu() + _PIXEL_CENTRE

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (1, 3, H, W), values 0 to 255, to y (1, C, H/d, W/d) and the importance (1, 1, H/d, W/d)."""
        features = self._networks[self._entry](x)
        if self._entry == "g_a":
            return features, features
        importance = self._networks["importance"](features)
        return self._networks["latents"](features) * (importance > 0.5), importance


def _window(rgb: NDArray[np.uint8], rows: slice, columns: slice) -> NDArray[np.uint8]:
    """A part of `rgb`, its last row and column repeated where the part passes its end."""
    inner = rgb[rows, columns]
    below, beside = rows.stop - rows.start - inner.shape[0], columns.stop - columns.start - inner.shape[1]
    if below or beside:
        return np.pad(inner, ((0, below), (0, beside), (0, 0)), mode="edge")
    return inner.copy()
