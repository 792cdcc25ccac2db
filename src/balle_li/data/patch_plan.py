"""Which picture gives how many patches, and which shard they go to: decided from the manifest, before any is read.

The plan keeps shards the same when pictures are added, so that DVC stores only what is new. Pictures are put in the
order of a hash of their ids, the one by which Open Images' subset is chosen: a larger `max_samples` adds at the end.
And a shard ends after a picture that its own hash picks, within the room there is: a picture that comes or goes
elsewhere moves the ends near it, and no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from balle_li.config import PatchConfig
from balle_li.files import hash_fraction

MIN_FILL = 0.5  # a shard may end once it is this full


@dataclass(frozen=True)
class Shard:
    """A shard to be cut: its pictures as positions in the list they came from, and the patches they give."""

    number: int
    first_patch: int
    pictures: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def patches(self) -> int:
        return sum(self.counts)


def scaled_size(width: int, height: int, config: PatchConfig) -> tuple[int, int]:
    """(width, height) in pixels at which a picture is cut: at most `max_megapixels`, but no side below a patch's."""
    scale = (config.max_megapixels * 1e6 / (width * height)) ** 0.5
    scale = min(1.0, max(scale, config.size / min(width, height)))
    if scale == 1.0:
        return width, height
    return max(round(width * scale), config.size), max(round(height * scale), config.size)


def patch_count(width: int, height: int, config: PatchConfig) -> int:
    """Patches of a picture of this size: at least one, and no more than a shard holds."""
    scaled_width, scaled_height = scaled_size(width, height, config)
    wanted = round(config.per_megapixel * scaled_width * scaled_height / 1e6)
    return min(max(wanted, 1), config.shard_capacity)


def plan_shards(image_ids: Sequence[str], counts: Sequence[int], capacity: int, seed: int) -> list[Shard]:
    """Assign pictures, with so many patches each, to shards of at most `capacity` patches.

    No count may exceed `capacity`.
    """
    keys = [(hash_fraction(seed, image_id), image_id) for image_id in image_ids]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shards: list[Shard] = []
    first_patch = start = 0
    while start < len(order):
        end = _shard_end(order, start, image_ids, counts, capacity)
        pictures = tuple(order[start:end])
        shards.append(Shard(len(shards), first_patch, pictures, tuple(counts[picture] for picture in pictures)))
        first_patch += shards[-1].patches
        start = end
    return shards


def _shard_end(order: Sequence[int], start: int, image_ids: Sequence[str], counts: Sequence[int], capacity: int) -> int:
    """One past the last picture of the shard that starts at `start`.

    Of the pictures after which the shard is full enough and not too full, the one with the smallest hash ends it.
    """
    filled = 0
    ends: list[tuple[float, int]] = []
    for position in range(start, len(order)):
        picture = order[position]
        filled += counts[picture]
        if filled > capacity:
            return min(ends)[1] if ends else position
        if filled >= MIN_FILL * capacity:
            ends.append((hash_fraction(0, f"end of shard:{image_ids[picture]}"), position + 1))
    return len(order)
