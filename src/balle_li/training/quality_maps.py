"""The quality maps r that training asks for: a quality for each picture, more or less of it in a rectangle or the boxes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from balle_li.quality_map import LIMIT, QUALITY_SPAN, STEPS

_REGION_SHARE = 0.5  # of the pictures have a region of another r
_BOXES_SHARE = 0.5  # of those with boxes have them as their region


def draw_quality_maps(
    batch: int, rows: int, columns: int, boxes: Tensor | None, device: torch.device, share: tuple[int, int] = (0, 1)
) -> Tensor:
    """r `(batch, 1, rows, columns)` in whole levels, from torch's global random generator.

    boxes: `(batch, 1, H, W)`, more than 0 inside boxes, or None. share: (rank, processes); all of them together draw
    what one would.
    """
    rank, processes = share
    random = torch.rand(processes * batch, 8)[rank * batch : (rank + 1) * batch].to(device)
    base, offset = ((2 * column - 1) * QUALITY_SPAN for column in random[:, :2].unbind(1))
    region = _rectangles(random[:, 2:6], rows, columns)
    if boxes is not None:
        cover = F.adaptive_avg_pool2d((boxes > 0).float(), (rows, columns))[:, 0]
        chosen = (cover.amax(dim=(1, 2)) > 0) & (random[:, 6] < _BOXES_SHARE)
        region = torch.where(chosen[:, None, None], cover, region)
    offset = offset * (random[:, 7] < _REGION_SHARE)
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
