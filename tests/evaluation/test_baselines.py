"""Other models, measured on the same pictures as the one that was trained."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from evaluation.stages import SIZES, evaluated, table_of
from tiny_model import tiny_model_folder

from balle_li.errors import BalleLiError
from balle_li.evaluation import measuring
from balle_li.evaluation.measuring import ModelUnderTest
from balle_li.files import read_json

NAMES = {"models:/codec@champion": "balle-li-roi", "kept/balle": "balle"}


@pytest.fixture
def baselines(tmp_path: Path) -> dict[str, Path]:
    """One of every rate and one of one rate, by the names that params.yaml might have for them."""
    return {name: tiny_model_folder(tmp_path / model, model, 4, seed=3) for name, model in NAMES.items()}


def measured(stages: Path, baselines: Mapping[str, Path]) -> pd.DataFrame:
    return table_of(evaluated(stages, baselines=baselines, metrics=["psnr"]))


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


def test_one_that_is_damaged_is_one_line_before_anything_is_measured(
    stages: Path, baselines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = baselines["kept/balle"] / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    monkeypatch.setattr(ModelUnderTest, "measure", None)
    with pytest.raises(BalleLiError, match=re.escape(str(damaged))) as caught:
        measured(stages, baselines)
    assert "\n" not in str(caught.value)


def test_other_code_measures_them_again(
    stages: Path, baselines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(stages, baselines)
    asked = []
    honest = ModelUnderTest.measure_as_baseline

    def counted(self, name, *rest):
        asked.append(name)
        return honest(self, name, *rest)

    monkeypatch.setattr(ModelUnderTest, "measure_as_baseline", counted)
    measured(stages, baselines)
    assert asked == []
    monkeypatch.setattr(measuring, "program", lambda: "another")
    measured(stages, baselines)
    assert sorted(asked) == sorted(list(NAMES) * len(SIZES))
