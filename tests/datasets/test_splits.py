"""Splits by a hash of the id: shares are met, nothing moves when pictures come or go, no split is left empty."""

from collections import Counter

import pytest

from balle_li.datasets.splits import SPLITS, assign_splits
from balle_li.errors import DatasetError

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def names(count: int) -> list[str]:
    return [f"picture-{number}" for number in range(count)]


def test_shares_are_met() -> None:
    counts = Counter(assign_splits(names(5000), SHARES, seed=0).values())
    for split, share in SHARES.items():
        assert counts[split] / 5000 == pytest.approx(share, abs=0.02)


def test_new_pictures_move_no_other() -> None:
    few, many = assign_splits(names(300), SHARES, seed=0), assign_splits(names(900), SHARES, seed=0)
    assert all(many[image_id] == split for image_id, split in few.items())


def test_the_seed_decides() -> None:
    assert assign_splits(names(50), SHARES, seed=0) != assign_splits(names(50), SHARES, seed=1)
    assert assign_splits(names(50), SHARES, seed=0) == assign_splits(reversed(names(50)), SHARES, seed=0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [3, 4, 7])
def test_no_split_is_empty(count: int, seed: int) -> None:
    splits = assign_splits(names(count), SHARES, seed)
    assert len(splits) == count
    assert set(splits.values()) == set(SPLITS)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(DatasetError, match="2 pictures cannot be split"):
        assign_splits(names(2), SHARES, seed=0)
