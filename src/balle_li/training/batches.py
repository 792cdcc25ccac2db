"""Batches of random crops, and the quality maps of variable-rate models.

A batch depends on the seed and on its step alone, so training resumes exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from balle_li.boxes import Box, box_weight_map, clip_to_window, weighted
from balle_li.data.patch_store import PatchStore
from balle_li.quality_map import LIMIT, QUALITY_SPAN, STEPS

Indices = npt.NDArray[np.int64]
_ORDER, _CROPS = 1, 2  # keep the random numbers of the two uses apart
_REGION_FRACTION = 0.5  # of the pictures have a region of another r
_BOXES_FRACTION = 0.5  # of those with boxes have them as their region


class Batch(NamedTuple):
    """images: uint8 `(B, crop, crop, 3)`; weights: float32 `(B, crop, crop)`, the box weight maps, or None."""

    images: Tensor
    weights: Tensor | None


class Crops(NamedTuple):
    """Where the crops of a batch lie: six arrays `(B,)`. A square of `side` pixels is cut, and enlarged where `side` is less
    than that of a crop. A flipped crop is mirrored after that."""

    patch: Indices
    top: Indices
    left: Indices
    side: Indices
    flip_rows: npt.NDArray[np.bool_]
    flip_columns: npt.NDArray[np.bool_]


class CropSource:
    """Makes batch `step`. An epoch takes every patch once, in a new order, cut at a random place and mirrored at random.

    The patches stay in memory maps, which the system keeps in memory as far as they fit.

    class_weights: weight of a class's boxes in `Batch.weights` (others weigh 1); None for no weights.
    process: (rank, processes); this process takes its part of every batch.
    smooth_fraction: of the crops that are an enlarged part of a patch. The side of that part is half a crop's, a quarter, and
    so on down to one pixel. They stand for blur, gradients and flat areas, which fill most of a large photograph.
    """

    def __init__(
        self,
        store: PatchStore,
        crop: int,
        batch_size: int,
        seed: int,
        class_weights: Mapping[str, float] | None,
        process: tuple[int, int] = (0, 1),
        smooth_fraction: float = 0.0,
    ) -> None:
        self.store, self.crop, self.batch_size, self.seed = store, crop, batch_size, seed
        self.smooth_fraction = smooth_fraction
        boxes = store.all_boxes() if class_weights is not None else []
        self._boxes: list[list[Box]] | None = (
            [weighted(own, class_weights or {}) for own in boxes] if any(boxes) else None
        )
        rank, processes = process
        self._own = slice(rank * batch_size // processes, (rank + 1) * batch_size // processes)
        self._orders: dict[int, Indices] = {}

    def crops(self, step: int) -> Crops:
        """The crops of batch `step`, as far as this process takes them."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, rows = np.divmod(positions, len(self.store))
        patch = np.array([self._order(int(epoch))[row] for epoch, row in zip(epochs, rows, strict=True)])
        random = np.random.default_rng([self.seed, _CROPS, step])
        top, left = random.integers(0, self.store.size - self.crop, (2, self.batch_size), endpoint=True)
        flip_rows, flip_columns = random.random((2, self.batch_size)) < 0.5
        halvings = random.integers(1, self.crop.bit_length(), self.batch_size)
        smooth = random.random(self.batch_size) < self.smooth_fraction
        side = np.where(smooth, self.crop >> halvings, self.crop)
        return Crops(*(values[self._own] for values in (patch, top, left, side, flip_rows, flip_columns)))

    def batch(self, step: int) -> Batch:
        """Batch `step`, as far as this process takes it, in host memory."""
        crops = self.crops(step)
        images = np.empty((len(crops.patch), self.crop, self.crop, 3), np.uint8)
        for image, patch, top, left, side, flip_rows, flip_columns in zip(images, *crops, strict=True):
            cut = self.store[int(patch)][top : top + side, left : left + side]
            if side < self.crop:
                cut = enlarged(torch.from_numpy(cut.copy()), self.crop).numpy()
            image[...] = _flipped(cut, flip_rows, flip_columns)
        return Batch(torch.from_numpy(images), self.weights(crops))

    def weights(self, crops: Crops) -> Tensor | None:
        """The box weight maps of `crops`, float32 `(B, crop, crop)`; None when weights are off or no patch has a box."""
        if self._boxes is None:
            return None
        maps = np.zeros((len(crops.patch), self.crop, self.crop), np.float32)
        size = self.store.size
        for weights, patch, top, left, side, flip_rows, flip_columns in zip(maps, *crops, strict=True):
            boxes = self._boxes[patch]
            if boxes:
                window = left / size, top / size, (left + side) / size, (top + side) / size
                seen = box_weight_map(clip_to_window(boxes, *window), self.crop, self.crop)
                weights[...] = _flipped(seen, flip_rows, flip_columns)
        return torch.from_numpy(maps)

    def _order(self, epoch: int) -> Indices:
        if epoch not in self._orders:
            order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.store))
            self._orders = {other: kept for other, kept in self._orders.items() if other == epoch - 1} | {epoch: order}
        return self._orders[epoch]


class DeviceCropSource(CropSource):
    """A CropSource whose patches lie in an accelerator's memory, where they are cut and mirrored too."""

    def __init__(self, *arguments: Any, device: torch.device, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.device = device
        self._patches = torch.empty(
            (len(self.store), self.store.size, self.store.size, 3), dtype=torch.uint8, device=device
        )
        for patch in range(len(self.store)):
            self._patches[patch] = torch.from_numpy(np.array(self.store[patch]))

    def batch(self, step: int) -> Batch:
        crops = self.crops(step)
        rows = _sides(crops.top, crops.flip_rows, self.crop)
        columns = _sides(crops.left, crops.flip_columns, self.crop)
        indices = [crops.patch[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = self._patches[tuple(torch.from_numpy(index).to(self.device, non_blocking=True) for index in indices)]
        for number in np.flatnonzero(crops.side < self.crop):
            patch, top, left, side = (int(values[number]) for values in crops[:4])
            cut = enlarged(self._patches[patch, top : top + side, left : left + side], self.crop)
            flips = [axis for axis, flipped in enumerate((crops.flip_rows, crops.flip_columns)) if flipped[number]]
            images[number] = cut.flip(flips)
        weights = self.weights(crops)
        return Batch(images, None if weights is None else weights.to(self.device, non_blocking=True))


def batches_from(source: CropSource, step: int) -> Iterator[Batch]:
    """Yield the batches of `source` from `step` on, without end; a thread prepares the next one."""
    with ThreadPoolExecutor(1, "batches") as thread:
        following = thread.submit(source.batch, step)
        while True:
            batch = following.result()
            step += 1
            following = thread.submit(source.batch, step)
            yield batch


def crop_source(
    store: PatchStore,
    crop: int,
    batch_size: int,
    seed: int,
    class_weights: Mapping[str, float] | None,
    process: tuple[int, int],
    device: torch.device,
    smooth_fraction: float = 0.0,
) -> CropSource:
    """A CropSource on the accelerator `device` if the patches take at most a quarter of its free memory, else on the host."""
    arguments = store, crop, batch_size, seed, class_weights, process, smooth_fraction
    if device.type == "cuda" and store.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
        return DeviceCropSource(*arguments, device=device)
    return CropSource(*arguments)


def pixels(images: Tensor) -> Tensor:
    """uint8 `(B, H, W, 3)` to float32 `(B, 3, H, W)` in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)


def enlarged(cut: Tensor, side: int) -> Tensor:
    """uint8 `(h, w, 3)` to `(side, side, 3)`, bicubic."""
    large = F.interpolate(cut.permute(2, 0, 1)[None].float(), (side, side), mode="bicubic")
    return large[0].round_().clamp_(0, 255).byte().permute(1, 2, 0)


def _flipped(array: np.ndarray[Any, Any], rows: bool, columns: bool) -> np.ndarray[Any, Any]:
    return array[:: -1 if rows else 1, :: -1 if columns else 1]


def _sides(start: Indices, flip: npt.NDArray[np.bool_], length: int) -> Indices:
    offsets = np.arange(length)
    return start[:, None] + np.where(flip[:, None], offsets[::-1], offsets)


def draw_quality_maps(
    batch: int, rows: int, columns: int, boxes: Tensor | None, device: torch.device, process: tuple[int, int] = (0, 1)
) -> Tensor:
    """r `(batch, 1, rows, columns)` in whole levels, from torch's global random generator.

    boxes: `(batch, 1, H, W)`, more than 0 inside boxes, or None. process: (rank, processes); all of them together draw
    what one would.
    """
    rank, processes = process
    random = torch.rand(processes * batch, 8)[rank * batch : (rank + 1) * batch].to(device)
    base, offset = ((2 * column - 1) * QUALITY_SPAN for column in random[:, :2].unbind(1))
    region = _rectangles(random[:, 2:6], rows, columns)
    if boxes is not None:
        cover = F.adaptive_avg_pool2d((boxes > 0).float(), (rows, columns))[:, 0]
        chosen = (cover.amax(dim=(1, 2)) > 0) & (random[:, 6] < _BOXES_FRACTION)
        region = torch.where(chosen[:, None, None], cover, region)
    offset = offset * (random[:, 7] < _REGION_FRACTION)
    r = base[:, None, None] + offset[:, None, None] * region
    return as_levels(r)[:, None]


def quality_sweep(numbers: Sequence[int], rows: int, columns: int, device: torch.device) -> Tensor:
    """r `(B, 1, rows, columns)`, even over each picture, of the pictures with these numbers.

    Picture after picture goes through five steps over the range of qualities, so the same one always gets the same r.
    """
    sweep = torch.linspace(-QUALITY_SPAN, QUALITY_SPAN, 5, device=device)
    r = sweep[torch.tensor(numbers, device=device) % len(sweep)]
    return as_levels(r)[:, None, None, None].expand(-1, 1, rows, columns)


def as_levels(r: Tensor) -> Tensor:
    """r rounded to the levels that a stream can carry."""
    return (r * STEPS).round().clamp(-LIMIT, LIMIT) / STEPS


def _rectangles(random: Tensor, rows: int, columns: int) -> Tensor:
    """`(B, 4)` numbers in [0, 1] to `(B, rows, columns)` of 0 and 1: a rectangle of at least one cell each."""
    top, bottom, left, right = _ends(random[:, :2], rows) + _ends(random[:, 2:], columns)
    row, column = torch.arange(rows, device=random.device), torch.arange(columns, device=random.device)
    inside = ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[:, None, :]
    return inside.float()


def _ends(random: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    low, high = random.sort(dim=1).values.unbind(1)
    start = (low * cells).floor().clamp(max=cells - 1)
    return start[:, None], torch.maximum((high * cells).ceil(), start + 1)[:, None]
