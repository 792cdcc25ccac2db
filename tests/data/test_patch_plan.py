"""The plan: how many patches of which picture go to which shard, and what moves when pictures come or go."""

import random

import pytest

from balle_li.config import PatchConfig
from balle_li.data.patch_plan import patch_count, plan_shards, scaled_size
from balle_li.files import hash_fraction

CONFIG = PatchConfig(size=256, per_megapixel=24, object_fraction=0.5, max_megapixels=2.0, shard_mib=48)
IDS = [f"picture-{number}" for number in range(400)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (640, 480)),
        ((4000, 2000), (2000, 1000)),
        ((200, 100), (200, 100)),  # nothing is scaled up
        ((20000, 300), (17067, 256)),  # the shorter side stays as long as a patch's
    ],
)
def test_large_pictures_are_scaled_down(size, expected):
    assert scaled_size(*size, CONFIG) == expected


@pytest.mark.parametrize(("size", "expected"), [((1000, 1000), 24), ((64, 64), 1), ((6000, 4000), 48)])
def test_the_number_of_patches_follows_the_megapixels_after_scaling(size, expected):
    assert patch_count(*size, CONFIG) == expected


def test_a_picture_gives_no_more_patches_than_a_shard_holds():
    small_shards = PatchConfig(size=256, per_megapixel=24, object_fraction=0.5, max_megapixels=2.0, shard_mib=1)
    assert patch_count(6000, 4000, small_shards) == small_shards.shard_capacity == 5


def shard_sets(ids, capacity=60, seed=0):
    """Each shard as the ids in it, in their order; a picture's count depends on its id."""
    shards = plan_shards(ids, [5 + int(10 * hash_fraction(9, image_id)) for image_id in ids], capacity, seed)
    return [tuple(ids[picture] for picture in shard.pictures) for shard in shards]


def test_every_picture_is_in_one_shard_and_none_is_too_full():
    counts = [random.Random(number).randint(1, 60) for number in range(400)]
    shards = plan_shards(IDS, counts, 60, seed=0)
    assert sorted(picture for shard in shards for picture in shard.pictures) == list(range(400))
    assert max(shard.patches for shard in shards) <= 60
    assert [shard.number for shard in shards] == list(range(len(shards)))
    first = 0
    for shard in shards:
        assert shard.first_patch == first and shard.counts == tuple(counts[picture] for picture in shard.pictures)
        first += shard.patches


def test_shards_are_at_least_half_full():
    shards = shard_sets(IDS)
    assert len(shards) <= 2 * 400 * 10 / 60


def test_the_order_of_the_manifest_does_not_matter():
    shuffled = random.Random(0).sample(IDS, len(IDS))
    assert shard_sets(shuffled) == shard_sets(IDS)


def test_a_larger_subset_of_open_images_keeps_every_shard_but_the_last():
    chosen = sorted(IDS, key=lambda image_id: hash_fraction(0, image_id))
    before, after = shard_sets(chosen[:300]), shard_sets(chosen)
    assert before[:-1] == after[: len(before) - 1]


@pytest.mark.parametrize("change", [IDS[:150] + IDS[151:], [*IDS, "a new picture"]])
def test_a_picture_that_comes_or_goes_moves_few_shards(change):
    before, after = set(shard_sets(IDS)), set(shard_sets(change))
    assert len(before) > 60
    assert len(before - after) <= 6


def test_no_pictures_no_shards():
    assert plan_shards([], [], 60, 0) == []
