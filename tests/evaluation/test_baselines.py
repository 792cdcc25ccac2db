"""Other models, measured on the same pictures as the one that was trained."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from evaluation.stages import SIZES, make_stages
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.config import ComputeConfig, EvaluationConfig
from balle_li.errors import ConfigError
from balle_li.evaluation.evaluate import evaluate
from balle_li.evaluation.measuring import ModelUnderTest
from balle_li.files import read_json

CONFIG = EvaluationConfig(
    metrics=["psnr"], qualities=[0, 100], jpeg_qualities=[50], codecs=[], baselines=[], extra_sets={}, device="cpu",
    pictures_on_page=1,
)  # fmt: skip
NAMES = {"models:/codec@champion": "balle-li-roi", "kept/balle": "balle"}


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return make_stages(tmp_path)


@pytest.fixture
def baselines(tmp_path: Path) -> dict[str, Path]:
    """One of every rate and one of one rate, by the names that params.yaml might have for them."""
    return {name: tiny_model_folder(tmp_path / model, model, 4, seed=3) for name, model in NAMES.items()}


def measured(stages: Path, baselines: Mapping[str, Path], workers: int = 1) -> pd.DataFrame:
    config = dataclasses.replace(CONFIG, baselines=list(baselines))
    inputs = stages / "raw", stages / "curated", stages / "model"
    evaluate(*inputs, baselines, config, {}, ComputeConfig(None, workers), stages / "report")
    return pd.read_parquet(stages / "report/measurements.parquet")


def test_they_go_through_files_at_every_quality_on_every_picture(stages: Path, baselines: dict[str, Path]) -> None:
    frame = measured(stages, baselines)
    own = frame[frame["kind"] == "baseline"]
    assert own.groupby("codec").size().to_dict() == {"models:/codec@champion": 3 * len(SIZES), "kept/balle": len(SIZES)}
    assert (own["stream_bytes"] > 0).all() and own["psnr"].notna().all() and (own["encode_seconds"] > 0).all()
    champion = own[own["codec"] == "models:/codec@champion"]
    assert set(champion["setting"].str.rpartition(", ")[2]) == {"quality 0", "quality 50", "quality 100"}
    assert {path.stem for path in (stages / "report/streams").iterdir()} == set(SIZES), "of the model alone"
    facts = read_json(stages / "report/evaluation.json")["baselines"]
    assert {name: (told["kind"], told["lmbda"]) for name, told in facts.items()} == dict.fromkeys(NAMES, ("mse", 0.01))


def test_they_are_measured_once_whatever_is_trained(
    stages: Path, baselines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measured(stages, baselines)
    tiny_model_folder(stages / "model", "balle-li", 4, seed=9)

    def again(*_: object) -> None:
        raise AssertionError("a baseline is measured again")

    monkeypatch.setattr(ModelUnderTest, "measure_as_baseline", again)
    after = measured(stages, baselines)
    of_baselines = [frame[frame["kind"] == "baseline"].reset_index(drop=True) for frame in (before, after)]
    pd.testing.assert_frame_equal(*of_baselines)
    assert not before["psnr"].equals(after["psnr"])


def test_one_that_cannot_take_a_picture_is_left_out_for_it(
    stages: Path, baselines: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    honest = ModelUnderTest.measure_as_baseline

    def refuses(self, name, reference, *rest):
        if reference.image_id == "small":
            raise ValueError("too small for it")
        return honest(self, name, reference, *rest)

    monkeypatch.setattr(ModelUnderTest, "measure_as_baseline", refuses)
    frame = measured(stages, {"kept/balle": baselines["kept/balle"]})
    assert "test: kept/balle is left out for 1 picture (small): ValueError: too small for it" in caplog.text
    assert set(frame.loc[~frame["compared"], "image_id"]) == {"small"}, "means are of the pictures that all have"


def test_a_name_that_another_curve_has_is_one_line(stages: Path, baselines: dict[str, Path]) -> None:
    for name in ("balle-li", "jpeg"):
        with pytest.raises(ConfigError, match=f"'{name}' is what another curve is called") as caught:
            measured(stages, {name: baselines["kept/balle"]})
        assert "\n" not in str(caught.value)


def test_pictures_that_published_curves_are_of_are_known_by_their_pixels(
    stages: Path, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "some pictures"
    folder.mkdir()
    for number, path in enumerate(sorted((shared / "kodak").glob("*.png"))):
        with Image.open(path) as image:
            image.save(folder / f"{number:02d}.webp", lossless=True, method=0)
    assert known_as(folder) == "kodak"
    first = folder / "00.webp"
    with Image.open(first) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first, lossless=True, method=0)
    assert known_as(folder) is None
    first.unlink()
    assert known_as(folder) is None


def known_as(folder: Path) -> str | None:
    from balle_li.evaluation.test_set import PictureSet
    from balle_li.evaluation.test_set import known_as as name_of

    pictures = PictureSet.folder("some", str(folder))
    return name_of(pictures.root, pictures.rows)


def test_whether_pictures_are_known_stands_in_the_evaluation(stages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balle_li.evaluation.test_set.known_as", lambda root, rows: f"{len(rows)} pictures")
    measured(stages, {})
    assert read_json(stages / "report/evaluation.json")["known_as"] == "3 pictures"
