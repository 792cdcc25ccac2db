"""Pictures that show the same thing twice: one is kept, so that no test picture has a twin in training."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from balle_li.datasets.inspection import Inspection

HASH_BITS = 64

# Thumbnails of one picture at several sizes and qualities differ by about a level; each scene's own contrast sets how
# much more may be the same scene once more.
SAME_LEVELS = 2.0
SAME_SHARE_OF_CONTRAST = 0.15


def exact_duplicates(pictures: Mapping[str, Inspection]) -> dict[str, str]:
    """For each picture whose file has the bytes of another one's: the id of the one to keep, which is the smallest."""
    first: dict[str, str] = {}
    return {
        image_id: first[pictures[image_id].sha256]
        for image_id in sorted(pictures)
        if first.setdefault(pictures[image_id].sha256, image_id) != image_id
    }


def near_duplicates(pictures: Mapping[str, Inspection], bits: int) -> dict[str, str]:
    """For each picture that looks like a better one: the id of that one, which is kept. None if `bits` is negative.

    Two pictures look alike when their perceptual hashes differ in at most `bits` of 64 bits and their thumbnails agree;
    the hash alone says nothing of pictures without structure. The better one has more pixels, or else the smaller id.
    No two pictures that are left look alike.

    Hashes that differ in at most `bits` bits are equal in at least one of `bits + 1` bands, so only pictures that share
    a band are compared: for 100,000 pictures and 4 bits a few seconds instead of 5 billion comparisons.
    """
    if bits < 0:
        return {}
    order = sorted(pictures, key=lambda image_id: (-pictures[image_id].pixels, image_id))
    hashes = [pictures[image_id].perceptual_hash for image_id in order]
    duplicates: dict[str, str] = {}
    kept_by_band: dict[tuple[int, int], list[int]] = defaultdict(list)  # places in `order`
    for place, (image_id, value) in enumerate(zip(order, hashes, strict=True)):
        bands = list(enumerate(_bands(value, bits + 1)))
        candidates = {
            kept for band in bands for kept in kept_by_band.get(band, ()) if (value ^ hashes[kept]).bit_count() <= bits
        }
        alike = sorted(candidates)
        twin = _first_of_same_scene(pictures[image_id], [pictures[order[kept]] for kept in alike])
        if twin is not None:
            duplicates[image_id] = order[alike[twin]]
            continue
        for band in bands:
            kept_by_band[band].append(place)
    return duplicates


def _bands(value: int, count: int) -> list[int]:
    """The bits of a 64-bit hash in `count` parts of nearly equal width."""
    edges = [HASH_BITS * i // count for i in range(count + 1)]
    return [(value >> low) & ((1 << (high - low)) - 1) for low, high in pairwise(edges)]


def _first_of_same_scene(picture: Inspection, candidates: Sequence[Inspection]) -> int | None:
    """The place of the first candidate whose thumbnail agrees with the picture's; None if there is none."""
    if not candidates:
        return None
    own = picture.thumbnail.astype(np.float32)
    others = np.stack([candidate.thumbnail for candidate in candidates]).astype(np.float32)
    differences = np.sqrt(np.mean((others - own) ** 2, axis=(1, 2, 3)))
    contrasts = np.minimum(others.std(axis=(1, 2, 3)), own.std())
    same = differences <= SAME_LEVELS + SAME_SHARE_OF_CONTRAST * contrasts
    return int(same.argmax()) if same.any() else None
