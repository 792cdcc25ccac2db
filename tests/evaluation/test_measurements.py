"""The table of measurements, what of it is compared, and the cache."""

import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from evaluation.measurements import FACTS, measurement, table

from balle_li.errors import BalleLiError
from balle_li.evaluation.measurements import HEADLINE, MeasurementCache, gains, read_measurements, write_measurements


def model(image_id: str, bpp: float = 0.8, psnr: float | None = 31.0) -> dict:
    return measurement(image_id, "balle", "N=8", bpp, psnr, 0.96, 32.0, {"Cat": 33.0}, HEADLINE)


def jpeg(image_id: str, psnr: float | None = 30.0) -> list[dict]:
    return [measurement(image_id, "jpeg", str(bpp), bpp, psnr) for bpp in (0.4, 1.2)]


def compared(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame.loc[frame["compared"], "image_id"]))


def test_the_table_comes_back_from_its_file(tmp_path: Path) -> None:
    frame = table([model("a"), *jpeg("a"), measurement("a", "webp", "1", 0.5, 30.0, None)])
    write_measurements(tmp_path / "measurements.parquet", frame)
    again = read_measurements(tmp_path / "measurements.parquet")
    pd.testing.assert_frame_equal(again.drop(columns="psnr_by_class"), frame.drop(columns="psnr_by_class"))
    assert list(again["psnr_by_class"][0]) == [{"label": "Cat", "value": 33.0}] and len(again["psnr_by_class"][1]) == 0


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_table_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "measurements.parquet"
    write_measurements(path, table([model("a"), *jpeg("a")]))
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    else:
        pd.DataFrame({"image_id": ["a"]}).to_parquet(path)
    with pytest.raises(BalleLiError, match=r"measurements\.parquet") as caught:
        read_measurements(path)
    assert "\n" not in str(caught.value)


def test_pictures_that_a_codec_lacks_or_that_come_back_exactly_are_not_compared() -> None:
    rows = [row for name in "abcd" for row in [model(name), *jpeg(name)]]
    rows += [measurement(name, "webp", "1", 0.5, None if name == "b" else 30.0) for name in "abc"]
    assert compared(table(rows)) == ["a", "c"]
    assert compared(table(rows[:-1])) == ["a", "b", "c", "d"], "webp, which takes half of them, is out, exact or not"


def test_a_codec_that_takes_few_pictures_is_out(caplog: pytest.LogCaptureFixture) -> None:
    rows = [row for name in "abcd" for row in [model(name), *jpeg(name)]]
    frame = table([*rows, measurement("a", "webp", "1", 0.5, 30.0)])
    assert compared(frame) == list("abcd") and "webp" not in set(frame["codec"])
    assert "webp is left out: it took only 1 of 4 pictures" in caplog.text


def test_where_nothing_could_be_compared_all_that_the_model_has_is() -> None:
    assert compared(table([model("a", psnr=None), *jpeg("a"), *jpeg("b")])) == ["a"]


def test_gains_are_over_jpeg_at_each_pictures_rate() -> None:
    rows = [model("a"), model("b", bpp=0.1), model("c", psnr=29.0)]
    found = gains(table([*rows, *(row for name in "abc" for row in jpeg(name))]), FACTS)
    assert found["psnr"].to_dict() == {"a": pytest.approx(1), "b": pytest.approx(1), "c": pytest.approx(-1)}
    assert found["within"].to_dict() == {"a": True, "b": False, "c": True}
    assert found["ms_ssim"]["a"] == pytest.approx(0.01)


def test_rows_and_streams_come_back_from_the_cache(tmp_path: Path) -> None:
    rows = [model("a"), *jpeg("a", psnr=None)]
    MeasurementCache(tmp_path).keep(("a", 1.5), rows, b"stream", tag="model")
    cache = MeasurementCache(tmp_path)
    assert cache.find(("a", 1.5)) == (rows, b"stream") and cache.find(("a", 2)) is None
    cache.keep(("b",), rows)
    cache.forget("model")
    assert cache.find(("a", 1.5)) is None and cache.find(("b",)) == (rows, b"")


def test_what_is_damaged_in_the_cache_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = MeasurementCache(tmp_path)
    for damage in ("[{", '[{"bpp": NaN, "mse": 1}]', '["a"]'):
        cache.keep(("a",), [model("a")])
        with sqlite3.connect(tmp_path / "cache.db") as database:
            database.execute("UPDATE Cache SET value = ? WHERE key NOT LIKE '% stream'", (damage,))
        assert cache.find(("a",)) is None
    (tmp_path / "cache.db").write_bytes(b"no database" * 100)
    for rest in tmp_path.glob("cache.db-*"):
        rest.unlink()
    fresh = MeasurementCache(tmp_path)
    fresh.keep(("a",), [model("a")])
    assert fresh.find(("a",)) is not None and "is damaged" in caplog.text
