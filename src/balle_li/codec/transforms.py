"""The transforms of a model over pictures of any size: tile by tile, without seams, in bounded memory.

A tile is given every input that decides its outputs, so the tiles' outputs are those of the whole picture up to the
rounding of floating-point sums.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from balle_li.codec.layers import input_span
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.networks import build_network, fold_input_scale, fold_output_scale, inference_dtype
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL

Progress = Callable[[float], None]

TILE_PIXELS = 1024
_PIXEL_CENTRE = 127.5


class Transforms:
    """Analysis (pixels to integer latents) and synthesis (integer latents to pixels) of one model on one device."""

    def __init__(
        self, model: ModelFolder, device: torch.device, dtype: torch.dtype | None, tile_pixels: int = TILE_PIXELS
    ):
        self.device, self.dtype = device, dtype or inference_dtype(device)
        self.downsampling: int = model.description["downsampling"]
        self._tile = max(1, tile_pixels // self.downsampling)
        self._median = model.tensors["tables.y.median"].to(device)[None, :, None, None]
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
    ) -> tuple[NDArray[np.int16], NDArray[np.float32] | None]:
        """Integer latents (channels, rows, columns) of `rgb` (H, W, 3), and the importance (rows, columns) of models with one.

        The picture is continued to whole latents by repeating its last row and column.
        """
        rows, columns = self.grid(*rgb.shape[:2])
        latents = np.empty((self._median.shape[1], rows, columns), dtype=np.int16)
        importance = None if self._entry == "g_a" else np.empty((rows, columns), dtype=np.float32)
        for row, column in self._tiles(rows, columns, progress):
            (top, bottom), (left, right) = self._pixels(row, rows), self._pixels(column, columns)
            pixels = torch.from_numpy(_window(rgb, top, bottom, left, right)).to(self.device)
            y, mask = self._encode(pixels.permute(2, 0, 1)[None].to(self.dtype))
            inner_rows = slice(row.start - top // self.downsampling, row.stop - top // self.downsampling)
            inner_columns = slice(column.start - left // self.downsampling, column.stop - left // self.downsampling)
            symbols = (y.float() - self._median).round_().clamp_(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL)
            latents[:, row, column] = symbols[0, :, inner_rows, inner_columns].to(torch.int16).cpu().numpy()
            if importance is not None:
                importance[row, column] = mask[0, 0, inner_rows, inner_columns].float().cpu().numpy()
        return latents, importance

    @torch.inference_mode()
    def synthesise(
        self, latents: NDArray[np.int16], height: int, width: int, progress: Progress | None
    ) -> NDArray[np.uint8]:
        """The pixels (height, width, 3) of integer latents (channels, rows, columns)."""
        rgb = np.empty((height, width, 3), dtype=np.uint8)
        _, rows, columns = latents.shape
        for row, column in self._tiles(rows, columns, progress):
            area = (slice(row.start * self.downsampling, min(row.stop * self.downsampling, height)),
                    slice(column.start * self.downsampling, min(column.stop * self.downsampling, width)))  # fmt: skip
            top, bottom = self._latents(area[0], rows)
            left, right = self._latents(area[1], columns)
            symbols = torch.from_numpy(latents[:, top:bottom, left:right].astype(np.float32))[None].to(self.device)
            y_hat = (symbols + self._median).to(self.dtype).contiguous(memory_format=torch.channels_last)
            # Truncation of v + 128 rounds v + 127.5.
            pixels = self._networks["g_s"](y_hat).float().add_(_PIXEL_CENTRE + 0.5).clamp_(0, 255).to(torch.uint8)
            y0, x0 = top * self.downsampling, left * self.downsampling
            inner = pixels[0, :, area[0].start - y0 : area[0].stop - y0, area[1].start - x0 : area[1].stop - x0]
            rgb[area] = inner.permute(1, 2, 0).cpu().numpy()
        return rgb

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (1, 3, H, W), values 0 to 255, to y (1, C, H/d, W/d) and the importance (1, 1, H/d, W/d)."""
        features = self._networks[self._entry](x)
        if self._entry == "g_a":
            return features, features
        importance = self._networks["importance"](features)
        return self._networks["latents"](features) * (importance > 0.5), importance

    def _tiles(self, rows: int, columns: int, progress: Progress | None) -> Iterator[tuple[slice, slice]]:
        starts = [(row, column) for row in range(0, rows, self._tile) for column in range(0, columns, self._tile)]
        for done, (row, column) in enumerate(starts, 1):
            yield slice(row, min(row + self._tile, rows)), slice(column, min(column + self._tile, columns))
            if progress is not None:
                progress(done / len(starts))

    def _pixels(self, span: slice, latents: int) -> tuple[int, int]:
        """The pixels, in whole latents, that decide the latents of `span` along an axis of `latents` in all."""
        start, stop = input_span(self._entry_layers, span.start, span.stop)
        first, last = max(0, start // self.downsampling), min(latents, -(-stop // self.downsampling))
        return first * self.downsampling, last * self.downsampling

    def _latents(self, span: slice, latents: int) -> tuple[int, int]:
        start, stop = input_span(self._g_s_layers, span.start, span.stop)
        return max(0, start), min(latents, stop)


def _window(rgb: NDArray[np.uint8], top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
    """Rows [top, bottom) and columns [left, right) of `rgb`, its last row and column repeated where they pass its end."""
    inner = rgb[top:bottom, left:right]
    below, beside = bottom - top - inner.shape[0], right - left - inner.shape[1]
    if below or beside:
        return np.pad(inner, ((0, below), (0, beside), (0, 0)), mode="edge")
    return inner.copy()
