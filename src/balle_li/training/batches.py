"""Batches of random crops. What batch `step` holds depends on the seed and on `step` alone, so training resumes exactly."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from balle_li.boxes import Box, box_weight_map, clip_to_window, weighted
from balle_li.datasets.patch_store import PatchStore

Indices = npt.NDArray[np.int64]
_ORDER, _CROPS = 1, 2  # keep the random numbers of the two uses apart


class Batch(NamedTuple):
    """images: uint8 `(B, crop, crop, 3)`; weights: float32 `(B, crop, crop)`, the box weight maps, or None."""

    images: Tensor
    weights: Tensor | None


class Crops(NamedTuple):
    """Where the crops of a batch lie: five arrays `(B,)`. A flipped crop is mirrored after it was cut."""

    patch: Indices
    top: Indices
    left: Indices
    flip_rows: npt.NDArray[np.bool_]
    flip_columns: npt.NDArray[np.bool_]


class CropSource:
    """Makes batch `step`: every patch once per epoch in a new order, at a random place, mirrored at random.

    The patches stay in memory maps, which the system keeps in memory as far as they fit.

    class_weights: weight of a class's boxes in `Batch.weights` (others weigh 1); None where no weights are wanted.
    share: (rank, processes): this process's part of every batch.
    """

    def __init__(
        self,
        store: PatchStore,
        crop: int,
        batch_size: int,
        seed: int,
        class_weights: Mapping[str, float] | None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.store, self.crop, self.batch_size, self.seed = store, crop, batch_size, seed
        boxes = store.all_boxes() if class_weights is not None else []
        self._boxes: list[list[Box]] | None = (
            [weighted(own, class_weights or {}) for own in boxes] if any(boxes) else None
        )
        rank, processes = share
        self._share = slice(rank * batch_size // processes, (rank + 1) * batch_size // processes)
        self._orders: dict[int, Indices] = {}

    def crops(self, step: int) -> Crops:
        """The crops of batch `step`, this process's share of them."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, rows = np.divmod(positions, len(self.store))
        patch = np.array([self._order(int(epoch))[row] for epoch, row in zip(epochs, rows, strict=True)])
        random = np.random.default_rng([self.seed, _CROPS, step])
        top, left = random.integers(0, self.store.size - self.crop, (2, self.batch_size), endpoint=True)
        flip_rows, flip_columns = random.random((2, self.batch_size)) < 0.5
        return Crops(*(values[self._share] for values in (patch, top, left, flip_rows, flip_columns)))

    def batch(self, step: int) -> Batch:
        """Batch `step`, this process's share of it, in host memory."""
        crops = self.crops(step)
        images = np.empty((len(crops.patch), self.crop, self.crop, 3), np.uint8)
        for image, patch, top, left, flip_rows, flip_columns in zip(images, *crops, strict=True):
            cut = self.store[int(patch)][top : top + self.crop, left : left + self.crop]
            image[...] = _flipped(cut, flip_rows, flip_columns)
        return Batch(torch.from_numpy(images), self.weights(crops))

    def weights(self, crops: Crops) -> Tensor | None:
        """The box weight maps of `crops`, float32 `(B, crop, crop)`; None when weights are off or no patch has a box."""
        if self._boxes is None:
            return None
        maps = np.zeros((len(crops.patch), self.crop, self.crop), np.float32)
        size = self.store.size
        for weights, patch, top, left, flip_rows, flip_columns in zip(maps, *crops, strict=True):
            boxes = self._boxes[patch]
            if boxes:
                window = left / size, top / size, (left + self.crop) / size, (top + self.crop) / size
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
        weights = self.weights(crops)
        return Batch(images, None if weights is None else weights.to(self.device, non_blocking=True))


def batches_from(source: CropSource, step: int) -> Iterator[Batch]:
    """The batches of `source` for ever, from `step` on, one ahead in a thread of its own."""
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
    share: tuple[int, int],
    device: torch.device,
) -> CropSource:
    """A CropSource on the accelerator `device` if the patches take at most a quarter of its free memory, else on the host."""
    arguments = store, crop, batch_size, seed, class_weights, share
    if device.type == "cuda" and store.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
        return DeviceCropSource(*arguments, device=device)
    return CropSource(*arguments)


def pixels(images: Tensor) -> Tensor:
    """uint8 `(B, H, W, 3)` to float32 `(B, 3, H, W)` in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)


def _flipped(array: np.ndarray[Any, Any], rows: bool, columns: bool) -> np.ndarray[Any, Any]:
    return array[:: -1 if rows else 1, :: -1 if columns else 1]


def _sides(start: Indices, flip: npt.NDArray[np.bool_], length: int) -> Indices:
    offsets = np.arange(length)
    return start[:, None] + np.where(flip[:, None], offsets[::-1], offsets)
