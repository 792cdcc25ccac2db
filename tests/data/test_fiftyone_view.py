"""What models made of four pictures, in the FiftyOne view."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balle_li.boxes import EXIF_TURNS
from balle_li.data.fiftyone_view import Outcome, add_results, as_shown, field_of, has_results

BITS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def dataset(mongo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    from balle_li.data.fiftyone_database import connect

    fiftyone = connect()
    dataset = fiftyone.Dataset()
    dataset.add_samples([fiftyone.Sample(filepath=str(tmp_path / f"{name}.png"), image_id=name) for name in "abcd"])
    yield dataset
    dataset.delete()


def result(name: str, psnr: float, inside: float | None, maps: dict[str, Any] | None = None) -> Outcome:
    figures = {"bpp": 1 / psnr, "psnr": psnr, "psnr_inside": inside}
    return Outcome(name, figures, Path(f"/pictures/{name}.png"), maps or {"bits": BITS})


RESULTS = [result("a", 30.0, 20.0), result("b", 25.0, 28.0), result("c", 35.0, None)]


def test_the_worst_pictures_of_a_model_come_first(dataset: Any) -> None:
    add_results(dataset, "balle (N=8)", "1", RESULTS)
    ids = {name: dataset.load_saved_view(name).values("image_id") for name in dataset.list_saved_views()}
    assert ids == {
        "balle (N=8): worst inside boxes": ["a", "b"],
        "balle (N=8): worst PSNR": ["b", "a", "c"],
        "balle (N=8): worst MS-SSIM": [],
        "balle (N=8): most bits": ["b", "a", "c"],
    }
    assert dataset.values("balle_N_8.psnr") == [30.0, 25.0, 35.0, None]
    assert dataset.values("balle_N_8_reconstruction") == [f"/pictures/{name}.png" for name in "abc"] + [None]
    assert dataset.app_config.media_fields == ["filepath", "balle_N_8_reconstruction"]
    heatmap = dataset.match({"image_id": "a"}).first()["balle_N_8_bits"]
    assert np.array_equal(heatmap.map, BITS) and heatmap.range == [0.0, 11.0]
    assert not dataset.has_sample_field("balle_N_8_importance")


def test_models_stand_side_by_side_and_each_replaces_itself(dataset: Any) -> None:
    importance = {"bits": BITS, "importance": BITS / 11}
    add_results(dataset, "balle", "1", RESULTS)
    add_results(dataset, "balle-li", "1", [result("a", 31.0, 21.0, importance)])
    assert has_results(dataset, "balle", "1") and not has_results(dataset, "balle", "2")
    assert not has_results(dataset, "balle-encoder", "1")

    add_results(dataset, "balle", "2", [result("d", 40.0, None)])
    assert has_results(dataset, "balle", "2") and has_results(dataset, "balle-li", "1")
    assert dataset.values("balle.psnr") == [None, None, None, 40.0]
    assert dataset.values("balle_li.psnr") == [31.0, None, None, None]
    assert dataset.has_sample_field("balle_li_importance")
    assert sorted(dataset.app_config.media_fields) == ["balle_li_reconstruction", "balle_reconstruction", "filepath"]
    dataset.reload()
    assert has_results(dataset, "balle", "2")


def test_a_field_is_named_after_its_model() -> None:
    assert field_of("balle-li-roi (N=64, lmbda=0.01)") == "balle_li_roi_N_64_lmbda_0_01"


@pytest.mark.parametrize("orientation", EXIF_TURNS)
def test_a_turned_picture_is_shown_as_the_browser_shows_its_file(orientation: int) -> None:
    stored = np.arange(6).reshape(2, 3)
    mirror, turns = EXIF_TURNS[orientation]
    in_browser = np.rot90(stored[:, ::-1] if mirror else stored, turns)
    assert np.array_equal(as_shown(in_browser, orientation, 0.0), in_browser)  # EXIF alone: upright is what it shows
    for rotation in (90.0, 180.0, 270.0):
        upright = np.rot90(stored, rotation // 90)
        assert np.array_equal(as_shown(upright, orientation, rotation), in_browser)
