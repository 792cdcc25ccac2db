import json
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from balle_li.boxes import Box
from balle_li.errors import ConfigError
from balle_li.evaluation import classical, classical_cache
from balle_li.evaluation.classical import classical_codec, codec_names
from balle_li.evaluation.classical_cache import measure_classical, round_trip
from balle_li.evaluation.measurement import Measurement, Reference


@pytest.fixture(scope="module")
def reference() -> Reference:
    rows, columns = np.mgrid[0:97, 0:130]
    waves = 128 + 60 * np.sin(rows / 9)[..., None] + 50 * np.cos(columns[..., None] / np.array([5.0, 8.0, 13.0]))
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    pixels = (waves + noise).clip(0, 255).astype(np.uint8)
    return Reference("waves", pixels, (Box(0.1, 0.1, 0.6, 0.7, "Cat"),), 40_000)


@pytest.mark.parametrize("name", codec_names())
def test_every_codec_trades_bytes_for_quality_through_a_file(name: str, reference: Reference) -> None:
    codec = classical_codec(name)
    sizes, errors = [], []
    for quality in (codec.qualities[1], codec.qualities[-1]):
        decoded, size, _ = round_trip(reference.pixels, codec, quality)
        assert decoded.shape == reference.pixels.shape and decoded.dtype == np.uint8
        sizes.append(size)
        errors.append(float(((decoded.astype(float) - reference.pixels) ** 2).mean()))
    assert sizes[0] < sizes[1] and errors[0] > errors[1]
    assert f"{codec.qualities[1]:g}" in codec.setting(codec.qualities[1]) and codec.library()


def test_stated_chroma_is_what_the_file_has(tmp_path: Path) -> None:
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, ::2, 0] = colours[:, 1::2, 2] = 200  # stripes of one pixel, which 4:2:0 cannot keep apart
    errors = {}
    for name, quality in (("jpeg", 95), ("jpeg-444", 95), ("avif", 95), ("hevc", 95)):
        decoded = round_trip(colours, classical_codec(name), quality)[0]
        errors[name] = float(np.abs(decoded.astype(int) - colours).mean())
    assert all(errors[name] < 10 < errors["jpeg"] for name in ("jpeg-444", "avif", "hevc"))


def test_a_codec_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classical, "version", _not_installed)
    assert "jpeg-xl" not in codec_names() and "jpeg" in codec_names()
    with pytest.raises(ConfigError, match="JPEG XL is left out: it needs `pip install pillow-jxl-plugin`"):
        classical_codec("jpeg-xl")


def test_unknown_codec_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'jpg' is unknown: known are jpeg"):
        classical_codec("jpg")


def test_second_measurement_comes_from_the_cache(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _jpeg(reference, tmp_path)
    monkeypatch.setattr(classical_cache, "round_trip", _never)
    assert _jpeg(reference, tmp_path) == first
    renamed = Reference("other", reference.pixels, reference.boxes, reference.source_bytes)
    assert _jpeg(renamed, tmp_path).image_id == "other"
    assert first.codec == "jpeg" and first.setting == "quality 30, 4:2:0"


def test_whatever_changes_the_figures_is_measured_anew(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _jpeg(reference, tmp_path)
    monkeypatch.setattr(classical_cache, "round_trip", _never)
    turned = Reference("waves", np.ascontiguousarray(reference.pixels.swapaxes(0, 1)), reference.boxes, 40_000)
    unlabelled = Reference("waves", reference.pixels, (), 40_000)
    for other in (turned, unlabelled):
        with pytest.raises(AssertionError, match="measured anew"):
            _jpeg(other, tmp_path)
    with pytest.raises(AssertionError, match="measured anew"):
        measure_classical(reference, classical_codec("jpeg"), 30, {"Cat": 2.0}, tmp_path)
    with pytest.raises(AssertionError, match="measured anew"):
        measure_classical(reference, classical_codec("jpeg"), 31, {}, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "not a number", "another picture's"])
def test_damaged_records_are_measured_anew(reference: Reference, tmp_path: Path, damage: str) -> None:
    first = _jpeg(reference, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        path.write_text("[1, 2]")
    elif damage == "not a number":
        record = json.loads(path.read_text())
        record["measurement"]["quality"]["psnr"] = "high"
        path.write_text(json.dumps(record))
    else:
        flat = Reference("flat", np.zeros((16, 16, 3), np.uint8), (), 100)
        _jpeg(flat, tmp_path / "flat")
        shutil.copy(next((tmp_path / "flat").rglob("*.json")), path)
    again = _jpeg(reference, tmp_path)
    assert (again.stream_bytes, again.quality) == (first.stream_bytes, first.quality)
    assert json.loads(path.read_text())["measurement"]["quality"]["psnr"] == first.quality.psnr


def test_bytes_are_those_of_the_file(reference: Reference, tmp_path: Path) -> None:
    measurement = _jpeg(reference, tmp_path / "cache")
    Image.fromarray(reference.pixels).save(tmp_path / "own.jpg", quality=30)
    assert measurement.stream_bytes == (tmp_path / "own.jpg").stat().st_size
    assert measurement.bpp == pytest.approx(8 * measurement.stream_bytes / (97 * 130))
    assert measurement.compression_ratio == 40_000 / measurement.stream_bytes


def _jpeg(reference: Reference, cache: Path) -> Measurement:
    return measure_classical(reference, classical_codec("jpeg"), 30, {}, cache)


def _not_installed(package: str) -> str:
    raise PackageNotFoundError(package)


def _never(*_: object) -> None:
    raise AssertionError("measured anew")
