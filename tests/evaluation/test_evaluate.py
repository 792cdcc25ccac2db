import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluation.measurements import measurement
from evaluation.stages import SIZES, make_stages
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.compute import ComputeConfig
from balle_li.configuration import from_mapping
from balle_li.datasets.manifest import write_manifest
from balle_li.errors import BalleLiError, ConfigError, StageError
from balle_li.evaluation import ranking, test_set
from balle_li.evaluation.config import EvaluationConfig
from balle_li.evaluation.evaluate import REPORT_FILES, evaluate
from balle_li.evaluation.measurement import Reference
from balle_li.evaluation.model_under_test import ModelUnderTest, PictureResult
from balle_li.evaluation.picture_page import jpeg_of_size
from balle_li.run_log import NoLog

CONFIG = EvaluationConfig(
    qualities=[0, 100], jpeg_qualities=[4, 50, 90], codecs=[], extra_sets={}, device="cpu", pictures_on_page=2
)
ALONE = ComputeConfig(scheduler=None, workers=1)


@dataclass
class Log(NoLog):
    figures: dict[str, float] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.figures |= values

    def artifact(self, path: Path, folder: str | None = None) -> None:
        assert path.is_file() and (folder is None or folder.startswith("evaluation"))
        self.artifacts.append(path.name if folder is None else f"{folder}/{path.name}")


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return make_stages(tmp_path)


def _evaluate(stages: Path, log: NoLog | None = None, **changes: object) -> Path:
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    folders = stages / "raw", stages / "curated", stages / "model"
    evaluate(*folders, config, {}, ALONE, stages / "report", log or NoLog())
    return stages / "report"


def test_report_holds_every_test_picture_and_figure(stages: Path) -> None:
    log = Log()
    report = _evaluate(stages, log)
    assert {path.name for path in report.iterdir()} == {*REPORT_FILES, "figures.json", "streams", "shown"}
    assert {path.stem for path in (report / "streams").iterdir()} == set(SIZES)
    rows = pq.read_table(report / "pictures.parquet").to_pylist()
    assert len(rows) == 3 * (1 + 6)  # the model, and JPEG at three qualities and the paper's three
    assert {row["setting"] for row in rows if row["codec"] == "jpeg"} >= {f"quality {q}, 4:2:0" for q in (8, 16, 32)}
    own = {row["image_id"]: row for row in rows if row["codec"] == "balle-li"}
    for name, (height, width) in SIZES.items():
        stream = (report / "streams" / f"{name}.bli").stat().st_size
        assert own[name]["stream_bytes"] == stream
        assert own[name]["bpp"] == pytest.approx(8 * stream / (height * width))
        assert own[name]["source_bytes"] == (stages / "raw" / f"{name}.png").stat().st_size
    assert (own["portrait"]["height"], own["portrait"]["width"]) == (70, 170)
    assert own["large"]["ms_ssim"] is not None and own["small"]["ms_ssim"] is None
    assert [entry["label"] for entry in own["large"]["psnr_by_class"]] == ["Cat", "Dog"]

    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["counts"]["pictures"] == 3 and metrics["counts"]["pictures_without_ms_ssim"] == 2
    assert metrics["model"]["bpp"] == pytest.approx(np.mean([row["bpp"] for row in own.values()]))
    cost = [0.01 * row["mse"] + row["bpp"] for row in own.values()]
    assert metrics["model"]["rd_cost"] == pytest.approx(np.mean(cost))
    for name in ("rd_curve.json", "jpeg.json"):
        assert {"codec", "bpp", "psnr", "ms_ssim"} <= set(json.loads((report / name).read_text())[0])
    with Image.open(report / "pictures.png") as page:
        assert page.width > page.height  # two rows, and five columns as the model has an importance map
    assert log.figures["test/psnr"] == metrics["model"]["psnr"]
    figures = json.loads((report / "figures.json").read_text())
    assert len(figures) <= 12 and all(value is None or isinstance(value, float) for value in figures.values())
    assert figures["psnr"] == pytest.approx(metrics["model"]["psnr"], rel=1e-3) and figures["bd_psnr"] is None
    shown = [f"{name}/{file}.webp" for name in SIZES for file in ("original", "model", "jpeg", "bits")]
    expected = [*REPORT_FILES, "shown/shown.json", *(f"shown/{name}" for name in shown)]
    beside = ["rd_curve.png", "pictures.png"]  # where MLflow's comparison of runs finds them
    assert sorted(log.artifacts) == sorted([*(f"evaluation/{name}" for name in expected), *beside])
    entries = json.loads((report / "shown" / "shown.json").read_text())
    assert [entry["gain"] for entry in entries] == sorted((entry["gain"] for entry in entries), reverse=True)
    assert {entry["image_id"]: len(entry["boxes"]) for entry in entries} == {"large": 2, "portrait": 0, "small": 0}


def test_second_evaluation_gives_the_same_figures_and_no_stale_streams(stages: Path) -> None:
    first = json.loads((_evaluate(stages) / "metrics.json").read_text())
    stale = stages / "report" / "streams" / "gone.bli"
    stale.write_bytes(b"old")
    second = json.loads((_evaluate(stages) / "metrics.json").read_text())
    assert not stale.exists()
    for metrics in (first, second):
        metrics["model"] = {name: value for name, value in metrics["model"].items() if not name.endswith("_ms")}
    assert first == second


def test_a_model_of_variable_rate_has_a_curve_and_bd_rates(stages: Path) -> None:
    tiny_model_folder(stages / "model", name="balle-li-roi", N=4)
    log = Log()
    report = _evaluate(stages, log)
    points = json.loads((report / "rd_curve.json").read_text())
    assert [point["setting"].rsplit(", ")[-1] for point in points] == ["quality 0", "quality 50", "quality 100"]
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["model"]["bpp"] == points[1]["bpp"]
    assert set(metrics["bd_rate"]["psnr"]) == {"percent", "overlap", "warning"}
    own = [row for row in pq.read_table(report / "pictures.parquet").to_pylist() if row["codec"] == "balle-li-roi"]
    assert len(own) == 3 * len(SIZES)
    stream = (report / "streams" / "large.bli").read_bytes()
    (headline,) = [row for row in own if row["image_id"] == "large" and row["setting"].endswith("quality 50")]
    assert headline["stream_bytes"] == len(stream)
    assert not list((report / "streams").glob("*.aside"))


def test_boxes_given_are_measured_at_equal_size(stages: Path) -> None:
    tiny_model_folder(stages / "model", name="balle-li-roi", N=4)
    log = Log()
    report = _evaluate(stages, log)
    rows = pq.read_table(report / "pictures.parquet").to_pylist()
    (given,) = [row for row in rows if row["codec"] == "balle-li-roi with boxes"]
    (plain,) = [row for row in rows if row["image_id"] == "large" and row["setting"].endswith("quality 50")]
    assert given["image_id"] == "large" and given["stream_bytes"] <= plain["stream_bytes"]
    found = json.loads((report / "metrics.json").read_text())["with_boxes"]
    assert found["pictures"] == 1 and 0.9 < found["bytes_ratio"] <= 1
    assert found["gain_inside"] == pytest.approx(given["psnr_inside"] - plain["psnr_inside"])
    assert found["loss_outside"] == pytest.approx(plain["psnr_outside"] - given["psnr_outside"])
    assert log.figures["test/boxes_gain_inside"] == found["gain_inside"]


def test_other_folders_get_a_report_of_their_own(stages: Path) -> None:
    (stages / "more" / "deep").mkdir(parents=True)
    for name in ("large", "small"):
        shutil.copy(stages / "raw" / f"{name}.png", stages / "more" / "deep")
    (stages / "more" / "notes.txt").write_text("no picture")
    log = Log()
    report = _evaluate(stages, log, extra_sets={"kodak": "more"}, codecs=["webp"])
    assert {path.name for path in (report / "sets" / "kodak").iterdir()} == {*REPORT_FILES, "streams", "shown"}
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["sets"]["kodak"] == json.loads((report / "sets" / "kodak" / "metrics.json").read_text())
    assert metrics["sets"]["kodak"]["counts"]["pictures"] == 2 and metrics["counts"]["pictures"] == 3
    assert log.figures["kodak/bpp"] == metrics["sets"]["kodak"]["model"]["bpp"]
    assert "evaluation/sets/kodak/shown/deep-large_png/model.webp" in log.artifacts
    curves = json.loads((report / "sets" / "kodak" / "classical.json").read_text())
    assert {point["codec"] for point in curves} == {"jpeg", "webp"}


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_pictures_is_one_line(stages: Path, there: bool) -> None:
    if there:
        (stages / "kodak").mkdir()
    with pytest.raises(ConfigError, match=r"evaluate\.extra_sets\.kodak: kodak .*; correct it, or take it out"):
        _evaluate(stages, extra_sets={"kodak": "kodak"})


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_an_interrupted_evaluation_goes_on_with_the_next_picture(
    stages: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model_folder(stages / "model", name=name, N=4)
    hidden = (stages / "raw" / "small.png").rename(stages / "away.png")
    with pytest.raises(StageError, match="picture small"):
        _evaluate(stages)
    hidden.rename(stages / "raw" / "small.png")
    measured: list[str] = []
    measure = ModelUnderTest.measure

    def counting(self: ModelUnderTest, reference: Reference, *rest: object) -> PictureResult:
        measured.append(reference.image_id)
        return measure(self, reference, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelUnderTest, "measure", counting)
    report = _evaluate(stages)
    assert measured == ["small"]
    assert {path.stem for path in (report / "streams").iterdir()} == set(SIZES)
    _evaluate(stages)
    assert len(measured) == 4, "a finished evaluation leaves nothing behind"


def test_missing_model_names_the_command(stages: Path) -> None:
    (stages / "model" / "model.json").unlink()
    with pytest.raises(StageError, match="run `kedro run --pipeline train` first"):
        _evaluate(stages)


def test_damaged_model_is_one_line(stages: Path) -> None:
    (stages / "model" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(BalleLiError) as caught:
        _evaluate(stages)
    assert "\n" not in str(caught.value) and "damaged" in str(caught.value)


def test_unreadable_picture_is_named(stages: Path) -> None:
    (stages / "raw" / "small.png").write_text("not a picture")
    with pytest.raises(StageError, match=r"picture small: .*small\.png"):
        _evaluate(stages)


def test_no_test_picture_says_what_to_change(stages: Path) -> None:
    write_manifest(stages / "curated" / "manifest.parquet", [])
    with pytest.raises(StageError, match=r"curate\.split\.test"):
        _evaluate(stages)


def test_digest_depends_on_the_pictures_alone(stages: Path) -> None:
    rows = test_set.read_rows(stages / "curated")
    assert test_set.digest(rows[::-1]) == test_set.digest(rows)
    assert test_set.digest(rows[1:]) != test_set.digest(rows)
    assert test_set.digest([{**rows[0], "boxes": []}, *rows[1:]]) == test_set.digest(rows)
    assert test_set.digest([{**rows[0], "sha256": "0"}, *rows[1:]]) != test_set.digest(rows)


def test_jpeg_of_the_same_size_is_the_nearest_quality(stages: Path) -> None:
    reference = test_set.read_reference(stages / "raw", test_set.read_rows(stages / "curated")[0])
    measurement, decoded = jpeg_of_size(reference, 2500, {})
    assert abs(measurement.stream_bytes - 2500) < 250 and decoded.shape == reference.pixels.shape
    assert jpeg_of_size(reference, 1, {})[0].setting == "quality 1, 4:2:0"


def test_examples_reach_from_the_best_to_the_worst() -> None:
    names = "abcdef"
    own = [measurement(name, "balle", "", 0.8, 30.0 + index) for index, name in enumerate(names)]
    jpeg = [measurement(name, "jpeg", str(bpp), bpp, 30.0) for name in names for bpp in (0.4, 1.2)]
    ranked = ranking.rank(own, jpeg)
    assert [round(gain) for _, gain in ranked] == [5, 4, 3, 2, 1, 0]
    order = [m for m, _ in ranked]
    assert [m.image_id for m in ranking.spread(order, 3)] == ["f", "d", "a"]
    assert [m.image_id for m in ranking.ends(order, 2)] == ["f", "e", "b", "a"]
    assert len(ranking.spread(order, 20)) == len(ranking.ends(order, 5)) == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"qualities": [101]}, "qualities: 101"),
        ({"jpeg_qualities": [0]}, "jpeg_qualities: 0"),
        ({"codecs": ["gif"]}, "codecs: 'gif' is unknown: known are jpeg"),
        ({"extra_sets": {"test": "kodak"}}, "extra_sets: 'test'"),
        ({"extra_sets": {"../kodak": "kodak"}}, "extra_sets: '../kodak'"),
        ({"pictures_on_page": 0}, "pictures_on_page"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_configuration_is_checked(values: dict[str, object], message: str) -> None:
    section = {**dataclasses.asdict(CONFIG), **values}
    with pytest.raises(ConfigError, match=message):
        from_mapping(EvaluationConfig, section, "evaluate")


def test_the_papers_jpeg_qualities_are_always_measured() -> None:
    assert CONFIG.all_jpeg_qualities == [4, 8, 16, 32, 50, 90]
