"""Which pictures train, validate and test: by a hash of their ids, so that adding pictures moves no other."""

from collections.abc import Iterable, Mapping

from balle_li.errors import DatasetError
from balle_li.files import hash_fraction

SPLITS = ("train", "validation", "test")


def assign_splits(image_ids: Iterable[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of every picture; `shares` gives each of `SPLITS` its share of the pictures, all above 0, 1 in sum.

    Each id falls on a point of [0, 1), cut into one interval a split. Among few pictures a split may stay empty: then
    the picture nearest to its interval joins it, from a split that has more than one.

    Raises DatasetError: there are fewer pictures than splits.
    """
    points = {image_id: hash_fraction(seed, image_id) for image_id in sorted(image_ids)}
    if len(points) < len(SPLITS):
        raise DatasetError(
            f"{len(points)} pictures cannot be split into {', '.join(SPLITS)}: bring at least {len(SPLITS)}"
        )
    intervals = _intervals(shares)
    splits = {image_id: _split_at(point, intervals) for image_id, point in points.items()}
    for split in SPLITS:
        members = list(splits.values())
        if split not in members:
            movable = [image_id for image_id in points if members.count(splits[image_id]) > 1]
            nearest = min(movable, key=lambda image_id: _distance(points[image_id], intervals[split]))
            splits[nearest] = split
    return splits


def _intervals(shares: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    intervals, low = {}, 0.0
    for split in SPLITS:
        intervals[split] = low, low + shares[split]
        low += shares[split]
    return intervals


def _split_at(point: float, intervals: Mapping[str, tuple[float, float]]) -> str:
    for split, (_, high) in intervals.items():
        if point < high:
            return split
    return SPLITS[-1]  # the shares' rounding left a gap below 1


def _distance(point: float, interval: tuple[float, float]) -> float:
    low, high = interval
    return max(low - point, point - high, 0.0)
