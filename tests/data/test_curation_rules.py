"""The rules of curation, on tables alone, and the splits: fractions are met, and nothing moves when pictures come or go."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from balle_li.boxes import Box
from balle_li.config import SPLITS, CurationConfig, read
from balle_li.data import BOX_REASONS, REASONS
from balle_li.data.curation import apply_rules, assign_splits, boxes_table, pictures_table
from balle_li.data.inspection import Inspection
from balle_li.errors import DatasetError

DOG, PERSON = Box(0.1, 0.2, 0.5, 0.9, "Dog"), Box(0.0, 0.0, 0.3, 1.0, "Person")
TINY = Box(0.5, 0.5, 0.51, 0.51, "Dog")
DRAWN = Box(0.2, 0.2, 0.8, 0.8, "Cat", is_depiction=True)
CROWD = Box(0.2, 0.2, 0.8, 0.8, "Person", is_group_of=True)
FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


@pytest.fixture
def config(root: Path) -> CurationConfig:
    values = yaml.safe_load((root / "params.yaml").read_text())["curate"]
    return dataclasses.replace(read(CurationConfig, values, "curate"), min_side=32)


def names(count: int) -> list[str]:
    return [f"picture-{number}" for number in range(count)]


def found(number: int, side: int = 64, sha256: str = "", quality: int | None = None) -> Inspection:
    """An inspection of a made-up picture that looks like no other."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    spread = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8], "big")
    return Inspection(sha256 or str(number), side + 32, side, 1, quality, spread, pixels)


def decide(config: CurationConfig, pictures: dict[str, tuple[Inspection | str, list[Box]]], seed: int = 0) -> Any:
    rows: list[Any] = [{"image_id": name, "boxes": boxes} for name, (_, boxes) in pictures.items()]
    return apply_rules(pictures_table(rows, [item for item, _ in pictures.values()]), boxes_table(rows), config, seed)


def test_the_rules_name_the_first_reason_of_each_picture_and_box(config: CurationConfig) -> None:
    pictures: dict[str, tuple[Inspection | str, list[Box]]] = {
        name: (found(number), [DOG, TINY]) for number, name in enumerate(names(6))
    }
    pictures |= {
        "broken": ("not a picture", [DOG]),
        "narrow": (found(7, side=8, quality=5), [DOG]),
        "coarse": (found(8, quality=5), [DOG]),
        "cats": (found(9), [DRAWN, PERSON]),
        "same": (found(10, sha256="0"), [DOG]),
        "alike": (dataclasses.replace(found(11), thumbnail=found(2).thumbnail, perceptual_hash=found(2).perceptual_hash,
                                      width=40, height=40), [DOG]),
        "crowd": (found(12), [DOG, CROWD, DRAWN]),
    }  # fmt: skip
    strict = dataclasses.replace(
        config, classes=["Dog", "Cat", "Person"], min_jpeg_quality=30, keep_group_of=False, keep_depictions=False
    )
    outcome = decide(strict, pictures | {"depicted": (found(13), [DRAWN])})
    fates = outcome.pictures
    assert dict(fates["reason"][fates["reason"] != ""]) == {
        "broken": "undecodable", "narrow": "too_small", "coarse": "low_jpeg_quality", "depicted": "no_boxes_of_class",
        "same": "exact_duplicate", "alike": "near_duplicate",
    }  # fmt: skip
    assert (
        fates["detail"]["same"] == "the same file as picture-0" and fates["detail"]["alike"] == "looks like picture-2"
    )
    assert set(fates["split"][fates["reason"] == ""]) == set(SPLITS) and set(fates["split"][fates["reason"] != ""]) == {
        ""
    }
    boxes = {(box.image_id, box.number): box.reason for box in outcome.boxes.itertuples()}
    assert [boxes["crowd", number] for number in range(3)] == ["", "group_of", "depiction"]
    assert (boxes["picture-0", 0], boxes["picture-0", 1]) == ("", "too_small")
    assert boxes["cats", 0] == "depiction" and boxes["same", 0] == boxes["broken", 0] == "picture_dropped"
    only_dogs = decide(dataclasses.replace(config, classes=["Dog"]), pictures)
    assert only_dogs.pictures["reason"]["cats"] == "no_boxes_of_class"
    assert set(only_dogs.boxes["reason"]) - {""} <= set(BOX_REASONS) and set(fates["reason"]) - {""} <= set(REASONS)


def test_the_rules_change_neither_their_input_nor_their_answer(config: CurationConfig) -> None:
    rows: list[Any] = [{"image_id": name, "boxes": [DOG, TINY]} for name in names(9)]
    pictures, boxes = pictures_table(rows, [found(number) for number in range(9)]), boxes_table(rows)
    before = pictures.copy(), boxes.copy()
    capped = dataclasses.replace(config, max_per_class=4)
    first, second = (apply_rules(pictures, boxes, capped, 3) for _ in range(2))
    assert pictures.equals(before[0]) and boxes.equals(before[1])
    assert first.pictures.equals(second.pictures) and first.boxes.equals(second.boxes)
    assert (first.pictures["reason"] == "over_class_cap").sum() == 5


def test_the_labelled_one_of_equal_files_is_kept_with_its_boxes(config: CurationConfig) -> None:
    pictures = {name: (found(number), [DOG]) for number, name in enumerate(names(4))}
    tiny = dataclasses.replace(config, min_box_area=0.01)  # a box that is dropped does not count
    copies = {
        "extra": (found(9, sha256="x"), list[Box]()),
        "few": (found(9, sha256="x"), [TINY, TINY]),
        "labelled": (found(9, sha256="x"), [DOG]),
    }
    outcome = decide(tiny, pictures | copies)
    assert dict(outcome.pictures["reason"][list(copies)]) == {
        "extra": "exact_duplicate", "few": "exact_duplicate", "labelled": "",
    }  # fmt: skip
    boxes = outcome.boxes
    assert list(boxes["reason"][boxes["image_id"] == "labelled"]) == [""]


def test_pictures_without_a_box_at_all_are_decided_on(config: CurationConfig) -> None:
    outcome = decide(config, {name: (found(number), []) for number, name in enumerate(names(5))})
    assert set(outcome.pictures["reason"]) == {""} and len(outcome.boxes) == 0


def test_fractions_are_met() -> None:
    counts = Counter(assign_splits(names(5000), FRACTIONS, seed=0).values())
    for split, fraction in FRACTIONS.items():
        assert counts[split] / 5000 == pytest.approx(fraction, abs=0.02)


def test_new_pictures_move_no_other() -> None:
    few, many = assign_splits(names(300), FRACTIONS, seed=0), assign_splits(names(900), FRACTIONS, seed=0)
    assert all(many[image_id] == split for image_id, split in few.items())


def test_the_seed_decides() -> None:
    assert assign_splits(names(50), FRACTIONS, seed=0) != assign_splits(names(50), FRACTIONS, seed=1)
    assert assign_splits(names(50), FRACTIONS, seed=0) == assign_splits(reversed(names(50)), FRACTIONS, seed=0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [3, 4, 7])
def test_no_split_is_empty(count: int, seed: int) -> None:
    splits = assign_splits(names(count), FRACTIONS, seed)
    assert len(splits) == count
    assert set(splits.values()) == set(SPLITS)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(DatasetError, match="2 pictures cannot be split"):
        assign_splits(names(2), FRACTIONS, seed=0)
