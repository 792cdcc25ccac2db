"""Duplicates are found however they were made, different pictures are left alone, and a JPEG's quality is read back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from balle_li.data import inspection
from balle_li.data.inspection import (
    Inspection,
    estimate_quality,
    exact_duplicates,
    inspect_picture,
    inspect_pictures,
    near_duplicates,
    read_jpeg_quality,
)


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Smooth random shapes, as different from seed to seed as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def inspected(folder: Path, **pictures: Image.Image) -> dict[str, Inspection]:
    found = {}
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
        found[name] = inspect_picture(folder / f"{name}.png", 0.0)
    return found


def made_up(value: int, level: int = 100) -> Inspection:
    return Inspection("0" * 64, 8, 8, 1, None, value, np.full((16, 16, 3), level, np.uint8))


def test_the_smallest_id_of_equal_files_is_kept(tmp_path: Path) -> None:
    pictures = inspected(tmp_path, c=scene(0), a=scene(0), b=scene(1), d=scene(0))
    assert exact_duplicates(pictures, {}) == {"c": "a", "d": "a"}


def test_of_equal_files_the_one_with_the_most_boxes_is_kept(tmp_path: Path) -> None:
    pictures = inspected(tmp_path, a=scene(0), b=scene(0), c=scene(0), d=scene(1))
    assert exact_duplicates(pictures, {"b": 1, "c": 2, "d": 9}) == {"a": "c", "b": "c"}


def test_smaller_and_coarser_copies_are_dropped(tmp_path: Path) -> None:
    original = scene(0)
    original.save(tmp_path / "coarse.jpg", quality=20)
    pictures = inspected(tmp_path, small=original.resize((160, 120)), original=original, other=scene(1))
    pictures["coarse"] = inspect_picture(tmp_path / "coarse.jpg", 0.0)
    # Of the two with most pixels the smaller id stays.
    assert near_duplicates(pictures, {}, bits=4) == {"original": "coarse", "small": "coarse"}


def test_of_copies_of_one_size_the_labelled_one_stays(tmp_path: Path) -> None:
    pictures = inspected(tmp_path, a=scene(0), b=scene(0), small=scene(0).resize((64, 64)))
    assert near_duplicates(pictures, {"b": 2, "small": 5}, bits=4) == {"a": "b", "small": "b"}


def test_a_turned_copy_is_compared_upright(tmp_path: Path) -> None:
    original = scene(0)
    original.save(tmp_path / "a.png")
    original.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "b.png")
    pictures = {"a": inspect_picture(tmp_path / "a.png", 0.0), "b": inspect_picture(tmp_path / "b.png", 90.0)}
    assert (pictures["b"].width, pictures["b"].height) == original.size
    assert near_duplicates(pictures, {}, bits=4) == {"b": "a"}


def test_flat_pictures_of_different_colours_are_different(tmp_path: Path) -> None:
    colours = {"red": (200, 30, 30), "blue": (30, 30, 200), "reddish": (201, 30, 30)}
    pictures = inspected(tmp_path, **{name: Image.new("RGB", (64, 64), colour) for name, colour in colours.items()})
    assert near_duplicates(pictures, {}, bits=4) == {"reddish": "red"}


def test_different_scenes_are_left_alone(tmp_path: Path) -> None:
    pictures = inspected(tmp_path, **{f"scene{seed}": scene(seed) for seed in range(30)})
    assert near_duplicates(pictures, {}, bits=4) == {}


@pytest.mark.parametrize("bits", [0, 1, 4, 10])
def test_the_bands_miss_no_pair(bits: int) -> None:
    random = np.random.default_rng(bits)
    hashes = [int(value) for value in random.integers(0, 2**63, 40)]
    for value in list(hashes):  # and copies with up to 12 bits turned
        flipped = random.choice(64, size=int(random.integers(0, 13)), replace=False)
        hashes.append(value ^ sum(1 << int(bit) for bit in flipped))
    pictures = {f"{number:03}": made_up(value) for number, value in enumerate(hashes)}

    kept: list[str] = []
    for image_id in sorted(pictures):
        value = pictures[image_id].perceptual_hash
        if all((value ^ pictures[other].perceptual_hash).bit_count() > bits for other in kept):
            kept.append(image_id)

    assert sorted(set(pictures) - set(near_duplicates(pictures, {}, bits))) == kept


def test_a_negative_number_of_bits_turns_the_search_off() -> None:
    assert near_duplicates({"a": made_up(7), "b": made_up(7)}, {}, bits=-1) == {}


@pytest.mark.parametrize("quality", [2, 10, 49, 50, 51, 75, 90, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_of_a_jpeg_file(tmp_path: Path, quality: int, mode: str) -> None:
    Image.new(mode, (16, 16)).save(tmp_path / "picture.jpg", quality=quality)
    assert read_jpeg_quality(tmp_path / "picture.jpg") == quality


def test_other_formats_have_none(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "picture.png")
    assert read_jpeg_quality(tmp_path / "picture.png") is None


def test_a_foreign_table_is_as_coarse_as_its_steps() -> None:
    fine, coarse = estimate_quality([2] * 64), estimate_quality([60] * 64)
    assert fine > 90 and coarse < 60
    assert np.all(np.diff([estimate_quality([step] * 64) for step in range(1, 255)]) <= 0)


def test_whatever_a_decoder_raises_costs_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        scene(0).save(tmp_path / f"{name}.png")

    def stumble(path: Path) -> int:
        if path.name == "b.png":
            raise RuntimeError("Failed to decode image: Truncated data\n")
        return 1

    monkeypatch.setattr(inspection, "exif_orientation", stumble)
    rows: list[Any] = [{"path": f"{name}.png", "rotation": 0.0} for name in ("a", "b", "c")]
    first, broken, last = inspect_pictures(tmp_path, rows)
    assert broken == "cannot be decoded: Failed to decode image: Truncated data"
    assert isinstance(first, Inspection) and isinstance(last, Inspection)
