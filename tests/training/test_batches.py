from itertools import islice

import numpy as np
import pytest
import torch

from balle_li.boxes import box_weight_map, weighted
from balle_li.data.patch_store import PatchStore
from balle_li.quality_map import LIMIT, QUALITY_SPAN, STEPS
from balle_li.training.batches import (
    CropSource,
    DeviceCropSource,
    batches_from,
    draw_quality_maps,
    pixels,
    quality_sweep,
)

WEIGHTS = {"Dog": 3.0}


@pytest.fixture
def patches(store):
    return PatchStore(store, "train")


def test_a_batch_depends_on_seed_and_step_alone(patches):
    source, again = CropSource(patches, 32, 4, 0, WEIGHTS), CropSource(patches, 32, 4, 0, WEIGHTS)
    for step in (9, 0, 1, 9):
        first, second = source.batch(step), again.batch(step)
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.weights, second.weights)
    assert not torch.equal(source.batch(0).images, source.batch(1).images)
    assert not torch.equal(source.batch(0).images, CropSource(patches, 32, 4, 1, WEIGHTS).batch(0).images)


def test_every_patch_comes_once_an_epoch(patches):
    source = CropSource(patches, 32, 4, 0, None)
    drawn = np.concatenate([source.crops(step).patch for step in range(7)])
    for epoch in drawn.reshape(4, 7):
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in drawn.reshape(4, 7)}) > 1


def test_crops_and_weights_lie_where_they_say(patches):
    source = CropSource(patches, 32, 4, 0, WEIGHTS)
    flips = set()
    for step in range(8):
        crops, batch = source.crops(step), source.batch(step)
        for row, (patch, top, left, side, flip_rows, flip_columns) in enumerate(zip(*crops, strict=True)):
            assert side == 32
            flips.add((bool(flip_rows), bool(flip_columns)))
            weights = box_weight_map(weighted(patches.boxes(patch), WEIGHTS), patches.size, patches.size)
            for got, whole in ((batch.images, patches[patch]), (batch.weights, weights)):
                cut = whole[top : top + 32, left : left + 32]
                cut = cut[::-1] if flip_rows else cut
                cut = cut[:, ::-1] if flip_columns else cut
                np.testing.assert_allclose(got[row].numpy(), cut, rtol=0, atol=1e-5)
    assert len(flips) == 4


def test_smooth_crops_are_a_small_part_of_a_patch_enlarged(patches):
    plain, source = CropSource(patches, 32, 4, 0, WEIGHTS), CropSource(patches, 32, 4, 0, WEIGHTS, smooth_fraction=0.5)
    sides = set()
    for step in range(20):
        crops, batch, before = source.crops(step), source.batch(step), plain.batch(step)
        for row, (patch, top, left, side, flip_rows, flip_columns) in enumerate(zip(*crops, strict=True)):
            sides.add(int(side))
            if side == 32:
                assert torch.equal(batch.images[row], before.images[row])
                continue
            axes = [axis for axis, flipped in enumerate((flip_rows, flip_columns)) if flipped]
            image, cut = batch.images[row].flip(axes), patches[patch][top : top + side, left : left + side]
            if side == 1:
                assert (image == torch.from_numpy(cut.copy())).all()
            means = image.float().unflatten(0, (side, -1)).unflatten(2, (side, -1)).mean(dim=(1, 3))
            assert (means - torch.from_numpy(cut.copy())).abs().mean() < 8
            weights = box_weight_map(weighted(patches.boxes(patch), WEIGHTS), patches.size, patches.size)
            seen = batch.weights[row].flip(axes)
            assert seen.mean() == pytest.approx(weights[top : top + side, left : left + side].mean(), abs=0.05)
    assert sides == {1, 2, 4, 8, 16, 32}


@pytest.mark.parametrize("smooth_fraction", [0.0, 0.5])
def test_cutting_on_the_device_gives_the_same(patches, smooth_fraction):
    arguments = {"smooth_fraction": smooth_fraction}
    host = CropSource(patches, 32, 4, 0, WEIGHTS, **arguments)
    device = DeviceCropSource(patches, 32, 4, 0, WEIGHTS, device=torch.device("cpu"), **arguments)
    for step in range(5):
        for expected, got in zip(host.batch(step), device.batch(step), strict=True):
            assert torch.equal(expected, got)


def test_processes_share_the_global_batch(patches):
    whole = CropSource(patches, 32, 4, 0, WEIGHTS).batch(3)
    parts = [CropSource(patches, 32, 4, 0, WEIGHTS, (rank, 2)).batch(3) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.weights for part in parts]), whole.weights)


def test_iteration_starts_at_the_step_that_is_due(patches):
    source = CropSource(patches, 32, 4, 0, None)
    for step, batch in zip((5, 6, 7), islice(batches_from(source, 5), 3), strict=True):
        assert torch.equal(batch.images, source.batch(step).images)
        assert batch.weights is None


def test_a_failure_while_reading_reaches_the_training(patches, monkeypatch):
    source = CropSource(patches, 32, 4, 0, None)
    monkeypatch.setattr(source, "crops", lambda step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(batches_from(source, 0))


def test_without_any_box_there_are_no_weights(new_store, tmp_path):
    patches = PatchStore(new_store(tmp_path / "patches", train=1), "train")  # the first patch has none
    assert CropSource(patches, 32, 2, 0, WEIGHTS).batch(0).weights is None


def test_pixels_are_rgb_channels_last():
    images = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)
    assert pixels(images).tolist() == [[[[1.0]], [[0.0]], [[pytest.approx(0.2)]]]]
    assert pixels(torch.zeros(2, 4, 4, 3, dtype=torch.uint8)).is_contiguous(memory_format=torch.channels_last)


CPU = torch.device("cpu")


def test_draws_are_levels_and_cover_the_range():
    torch.manual_seed(0)
    r = draw_quality_maps(400, 8, 6, None, CPU)
    assert r.shape == (400, 1, 8, 6)
    assert torch.equal(r * STEPS, (r * STEPS).round())
    assert float(r.abs().max()) <= LIMIT / STEPS
    even = r.amax(dim=(1, 2, 3)) == r.amin(dim=(1, 2, 3))
    assert 100 < int(even.sum()) < 300  # about half of the pictures have a region
    bases = r[even][:, 0, 0, 0]
    assert float(bases.min()) < -0.9 * QUALITY_SPAN
    assert float(bases.max()) > 0.9 * QUALITY_SPAN


def test_a_region_is_a_rectangle():
    torch.manual_seed(1)
    r = draw_quality_maps(50, 8, 8, None, CPU)[:, 0]
    for picture in r:
        values = picture.unique()
        assert len(values) <= 2
        if len(values) == 2:
            inside = [picture == value for value in values]
            assert any(rows_by_columns(mask) for mask in inside)


def rows_by_columns(mask: torch.Tensor) -> bool:
    return torch.equal(mask, mask.any(dim=1)[:, None] & mask.any(dim=0))


def test_labelled_boxes_become_regions():
    torch.manual_seed(2)
    boxes = torch.zeros(200, 1, 32, 32)
    boxes[:, :, 4:20, 16:24] = 0.5  # the latents' rows 0 and 1 in part, of columns 2 and 3 the first
    r = draw_quality_maps(200, 4, 4, boxes, CPU)[:, 0]
    cover = torch.zeros(4, 4)
    cover[0, 2], cover[1, 2], cover[2, 2] = 0.5, 1.0, 0.5
    like_boxes = 0
    for picture in r:
        change = picture - picture[3, 0]
        scale = change[1, 2]
        if scale != 0 and torch.allclose(change, cover * scale, atol=1.1 / STEPS) and change[0, 2] != scale:
            like_boxes += 1
    assert like_boxes > 20


def test_processes_draw_together_what_one_draws():
    torch.manual_seed(3)
    whole = draw_quality_maps(6, 4, 4, None, CPU)
    parts = []
    for rank in range(2):
        torch.manual_seed(3)
        parts.append(draw_quality_maps(3, 4, 4, None, CPU, (rank, 2)))
    assert torch.equal(whole, torch.cat(parts))


def test_a_quality_sweep_belongs_to_the_pictures():
    r = quality_sweep(range(7), 2, 3, CPU)
    assert r.shape == (7, 1, 2, 3)
    assert torch.equal(r[0], r[5])
    assert torch.equal(quality_sweep([3, 4], 2, 3, CPU), r[3:5])
    assert r[0, 0, 0, 0] == -QUALITY_SPAN
    assert r[4, 0, 0, 0] == QUALITY_SPAN
