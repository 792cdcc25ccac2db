from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from balle_li.boxes import Box
from balle_li.errors import BalleLiError, ConfigError
from balle_li.evaluation import codecs
from balle_li.evaluation.codecs import Jpeg, codec, installed_codecs, round_trip
from balle_li.evaluation.measurements import Reference, measure_classical


@pytest.fixture(scope="module")
def reference() -> Reference:
    rows, columns = np.mgrid[0:97, 0:130]
    waves = 128 + 60 * np.sin(rows / 9)[..., None] + 50 * np.cos(columns[..., None] / np.array([5.0, 8.0, 13.0]))
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    pixels = (waves + noise).clip(0, 255).astype(np.uint8)
    return Reference("waves", pixels, 40_000, (Box(0.1, 0.1, 0.6, 0.7, "Cat"),))


@pytest.mark.parametrize("name", installed_codecs())
def test_every_codec_trades_bytes_for_quality_through_a_file(name: str, reference: Reference) -> None:
    own = codec(name)
    sizes, errors = [], []
    for quality in (own.qualities[1], own.qualities[-1]):
        decoded, size, *_ = round_trip(reference.pixels, own, quality)
        assert decoded.shape == reference.pixels.shape and decoded.dtype == np.uint8
        sizes.append(size)
        errors.append(float(((decoded.astype(float) - reference.pixels) ** 2).mean()))
    assert sizes[0] < sizes[1] and errors[0] > errors[1]
    assert f"{own.qualities[1]:g}" in own.setting(own.qualities[1]) and own.library()


def test_stated_chroma_is_what_the_file_has(tmp_path: Path) -> None:
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, ::2, 0] = colours[:, 1::2, 2] = 200  # stripes of one pixel, which 4:2:0 cannot keep apart
    errors = {}
    for name, quality in (("jpeg", 95), ("jpeg-444", 95), ("avif", 95), ("hevc", 95)):
        decoded = round_trip(colours, codec(name), quality)[0]
        errors[name] = float(np.abs(decoded.astype(int) - colours).mean())
    assert all(errors[name] < 10 < errors["jpeg"] for name in ("jpeg-444", "avif", "hevc"))


def test_a_codec_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "version", _not_installed)
    assert "jpeg-xl" not in installed_codecs() and "jpeg" in installed_codecs()
    with pytest.raises(ConfigError, match="JPEG XL is left out: it needs `pip install pillow-jxl-plugin`"):
        codec("jpeg-xl")


def test_unknown_codec_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'jpg' is unknown: did you mean 'jpeg'"):
        codec("jpg")


def test_bytes_are_those_of_the_file(reference: Reference, tmp_path: Path) -> None:
    (row,) = measure_classical(reference, codec("jpeg"), [30], ["psnr"])
    Image.fromarray(reference.pixels).save(tmp_path / "own.jpg", quality=30)
    assert row["stream_bytes"] == (tmp_path / "own.jpg").stat().st_size
    assert row["bpp"] == pytest.approx(8 * row["stream_bytes"] / (97 * 130))
    assert row["compression_ratio"] == 40_000 / row["stream_bytes"]
    assert (row["codec"], row["setting"], row["kind"]) == ("jpeg", "quality 30, 4:2:0", "classical")


def test_a_picture_beyond_a_format_is_refused_in_one_line() -> None:
    tall = np.zeros((16_384, 2, 3), np.uint8)
    with pytest.raises(BalleLiError, match="WebP holds at most 16,383 pixels a side"):
        round_trip(tall, codec("webp"), 1)
    assert round_trip(tall[:-1], codec("webp"), 1).decoded.shape == (16_383, 2, 3)


@pytest.mark.parametrize("fault", [RuntimeError("no\nmemory"), MemoryError(), ValueError("of another size")])
def test_whatever_an_encoder_raises_is_one_line(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Jpeg, "encode", fail)
    with pytest.raises(BalleLiError, match=r"JPEG fails at quality 30, 4:2:0: \w+") as caught:
        round_trip(np.zeros((8, 8, 3), np.uint8), codec("jpeg"), 30)
    assert "\n" not in str(caught.value)


def test_a_decoder_that_returns_another_size_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jpeg, "decode", lambda *_: Image.new("RGB", (4, 8)))
    with pytest.raises(BalleLiError, match="JPEG returns 4 × 8 of 8 × 8 pixels"):
        round_trip(np.zeros((8, 8, 3), np.uint8), codec("jpeg"), 30)


def _not_installed(package: str) -> str:
    raise PackageNotFoundError(package)
