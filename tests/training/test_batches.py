from itertools import islice

import numpy as np
import pytest
import torch

from balle_li.boxes import box_weight_map, weighted
from balle_li.datasets.patch_store import PatchStore
from balle_li.training.batches import CropSource, DeviceCropSource, batches_from, pixels

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
        for row, (patch, top, left, flip_rows, flip_columns) in enumerate(zip(*crops, strict=True)):
            flips.add((bool(flip_rows), bool(flip_columns)))
            weights = box_weight_map(weighted(patches.boxes(patch), WEIGHTS), patches.size, patches.size)
            for got, whole in ((batch.images, patches[patch]), (batch.weights, weights)):
                cut = whole[top : top + 32, left : left + 32]
                cut = cut[::-1] if flip_rows else cut
                cut = cut[:, ::-1] if flip_columns else cut
                np.testing.assert_allclose(got[row].numpy(), cut, rtol=0, atol=1e-5)
    assert len(flips) == 4


def test_cutting_on_the_device_gives_the_same(patches):
    host = CropSource(patches, 32, 4, 0, WEIGHTS)
    device = DeviceCropSource(patches, 32, 4, 0, WEIGHTS, device=torch.device("cpu"))
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
