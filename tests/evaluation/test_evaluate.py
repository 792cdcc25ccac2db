"""The stage that measures: what it leaves, what it measures once, and how it meets what it cannot measure."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.stages import CONFIG, SIZES, evaluated, facts_of, table_of
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.boxes import Box
from balle_li.config import ComputeConfig, EvaluationConfig, read
from balle_li.data.manifest import read_manifest, write_manifest
from balle_li.errors import BalleLiError, ConfigError, StageError
from balle_li.evaluation import evaluate as stage
from balle_li.evaluation import test_set
from balle_li.evaluation.codecs import CODECS, Jpeg, WebP, register_codec
from balle_li.evaluation.examples import jpeg_of_size
from balle_li.evaluation.measurements import Reference
from balle_li.evaluation.measuring import ModelUnderTest
from balle_li.evaluation.metrics import METRICS, Metric, MetricFacts, Pair, register_metric
from balle_li.files import sha256_file

TIMES = ["encode_seconds", "decode_seconds"]


def test_every_test_picture_is_measured_through_real_files(stages: Path) -> None:
    report = evaluated(stages)
    files = {"evaluation.json", "measurements.parquet", "streams", "examples"}
    assert {path.name for path in report.iterdir()} == files
    assert {path.stem for path in (report / "streams").iterdir()} == set(SIZES)
    frame = table_of(report)
    assert len(frame) == 3 * (1 + 6)  # the model, and JPEG at three qualities and the paper's three
    assert set(frame.loc[frame["codec"] == "jpeg", "setting"]) >= {f"quality {q}, 4:2:0" for q in (8, 16, 32)}
    own = frame[frame["codec"] == "balle-li"].set_index("image_id")
    for name, (height, width) in SIZES.items():
        stream = (report / "streams" / f"{name}.bli").stat().st_size
        assert own["stream_bytes"][name] == stream
        assert own["bpp"][name] == pytest.approx(8 * stream / (height * width))
        assert own["source_bytes"][name] == (stages / "raw" / f"{name}.png").stat().st_size
    assert (own["height"]["portrait"], own["width"]["portrait"]) == (70, 170)
    assert np.isfinite(own["ms_ssim"]["large"]) and np.isnan(own["ms_ssim"]["small"])
    assert [entry["label"] for entry in own["psnr_by_class"]["large"]] == ["Cat", "Dog"]
    facts = facts_of(report)
    assert facts["model"] == {
        "name": "balle-li", "setting": own["setting"]["large"], "lmbda": 0.01, "kind": "mse", "steps": 0
    }  # fmt: skip
    assert [fact["name"] for fact in facts["metrics"]] == ["psnr", "ms_ssim"]
    rows = test_set.read_rows(stages / "curated")
    assert facts["test_set"] == facts["all_pictures"] == test_set.digest(rows)


def test_examples_are_kept_from_the_best_to_the_worst(stages: Path) -> None:
    report = evaluated(stages)
    entries = json.loads((report / "examples" / "examples.json").read_text())
    assert [entry["gain"] for entry in entries] == sorted((entry["gain"] for entry in entries), reverse=True)
    assert {entry["image_id"]: len(entry["boxes"]) for entry in entries} == {"large": 2, "portrait": 0, "small": 0}
    assert [entry["on_page"] for entry in entries] == [True, False, True], "two, from the best to the worst"
    for entry in entries:
        views = {path.stem for path in (report / "examples" / entry["image_id"]).iterdir()}
        assert views == set(entry["views"]) == {"original", "model", "jpeg", "bits", "importance"}
        assert entry["model"]["psnr"] > 5 and abs(entry["jpeg"]["stream_bytes"] - entry["model"]["stream_bytes"]) < 2000


def test_second_evaluation_gives_the_same_figures_and_no_stale_streams(stages: Path) -> None:
    first = table_of(evaluated(stages))
    stale = stages / "report" / "streams" / "gone.bli"
    stale.write_bytes(b"old")
    second = table_of(evaluated(stages))
    assert not stale.exists()
    assert first.drop(columns=[*TIMES, "psnr_by_class"]).equals(second.drop(columns=[*TIMES, "psnr_by_class"]))


def test_many_processes_measure_what_one_does(stages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model_folder(stages / "model", name="balle-li-roi", N=4)
    alone = evaluated(stages, codecs=["webp"])
    kept, one = {path: path.read_bytes() for path in alone.rglob("*.bli")}, table_of(alone)
    shutil.rmtree(stages / ".evaluation")
    monkeypatch.setattr(stage, "SMALL", 0)
    monkeypatch.setattr(ModelUnderTest, "measure", _never)  # not in this process
    together = evaluated(stages, ComputeConfig(None, 2), codecs=["webp"])
    assert {path: path.read_bytes() for path in together.rglob("*.bli")} == kept and len(kept) == len(SIZES)
    assert one.drop(columns=[*TIMES, "psnr_by_class"]).equals(
        table_of(together).drop(columns=[*TIMES, "psnr_by_class"])
    )


def _never(*_: object) -> None:
    raise AssertionError("measured again")


def test_a_gpu_is_used_by_one_process(stages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SMALL", 0)
    monkeypatch.setattr(ModelUnderTest, "on_gpu", True)
    measured = _counted(monkeypatch)
    frame = table_of(evaluated(stages, ComputeConfig(None, 2)))
    assert sorted(measured) == sorted(SIZES), "all of them here"
    assert list(frame["codec"]) == (["balle-li"] + 6 * ["jpeg"]) * 3


def test_a_model_of_variable_rate_has_a_row_for_each_quality(stages: Path) -> None:
    tiny_model_folder(stages / "model", name="balle-li-roi", N=4)
    report = evaluated(stages)
    frame = table_of(report)
    own = frame[(frame["codec"] == "balle-li-roi") & (frame["image_id"] == "large")]
    settings = [setting.rsplit(", ")[-1] for setting in own["setting"]]
    assert settings == ["quality 0", "quality 50", "quality 100"]
    assert list(own["kind"]) == ["other quality", "headline", "other quality"]
    headline = own[own["kind"] == "headline"].iloc[0]
    assert headline["stream_bytes"] == (report / "streams" / "large.bli").stat().st_size
    (given,) = frame[frame["kind"] == "with boxes"].to_dict("records")
    assert given["image_id"] == "large" and given["stream_bytes"] <= headline["stream_bytes"]


def _add(stages: Path, name: str, image: Image.Image) -> None:
    """One more picture of the test split."""
    image.save(stages / "raw" / f"{name}.png")
    rows = read_manifest(stages / "curated" / "manifest.parquet")
    width, height = image.size
    row = {**rows[0], "image_id": name, "path": f"{name}.png", "width": width, "height": height, "boxes": []}
    row |= {"rotation": 0.0, "split": "test", "sha256": sha256_file(stages / "raw" / f"{name}.png")}
    write_manifest(stages / "curated" / "manifest.parquet", [*rows, row])


def test_a_picture_too_long_for_a_codec_is_left_out_of_the_comparison(
    stages: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(stages, "long", Image.linear_gradient("L").convert("RGB").resize((16, 300)))
    monkeypatch.setattr(WebP, "largest_side", 250)
    report = evaluated(stages, codecs=["webp"])
    frame = table_of(report)
    assert set(frame.loc[frame["codec"] == "webp", "image_id"]) == set(SIZES)
    assert set(frame.loc[frame["compared"], "image_id"]) == set(SIZES)
    assert (report / "streams" / "long.bli").is_file(), "the model takes it"
    reason = "WebP holds at most 250 pixels a side"
    assert facts_of(report)["left_out"] == {"webp": {"pictures": ["long"], "reason": reason}}
    assert caplog.text.count(f"webp is left out for 1 picture (long): {reason}") == 1
    facts, rows = facts_of(report), test_set.read_rows(stages / "curated")
    assert facts["all_pictures"] == test_set.digest(rows)
    assert facts["test_set"] == test_set.digest([row for row in rows if row["image_id"] != "long"])


def test_a_blank_page_is_counted_apart(stages: Path, caplog: pytest.LogCaptureFixture) -> None:
    without = table_of(evaluated(stages))
    _add(stages, "blank", Image.new("RGB", (200, 200), "white"))
    report = evaluated(stages)
    frame = table_of(report)
    assert frame.loc[(frame["image_id"] == "blank") & (frame["codec"] == "jpeg"), "psnr"].isna().any()
    assert not frame.loc[frame["image_id"] == "blank", "compared"].any()
    assert len(frame[frame["compared"]]) == len(without)
    assert facts_of(report)["exact"] == ["blank"]
    assert "1 picture (blank) reproduced exactly and counted apart" in caplog.text


@pytest.mark.parametrize("fault", [MemoryError("no memory"), BalleLiError("too many pixels")])
def test_a_picture_that_the_model_cannot_take_ends_nothing(
    stages: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measure = ModelUnderTest.measure

    def failing(self: ModelUnderTest, reference: Reference, *rest: Any) -> Any:
        if reference.image_id == "small":
            raise fault
        return measure(self, reference, *rest)

    monkeypatch.setattr(ModelUnderTest, "measure", failing)
    frame = table_of(evaluated(stages))
    assert set(frame.loc[frame["compared"], "image_id"]) == {"large", "portrait"}
    kind = "MemoryError: " if isinstance(fault, MemoryError) else ""
    assert f"balle-li is left out for 1 picture (small): {kind}{fault}" in caplog.text


def test_a_model_that_takes_no_picture_is_one_line(stages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelUnderTest, "measure", _never)
    with pytest.raises(
        StageError, match="balle-li takes none of the 3 pictures of test: AssertionError: measured again"
    ):
        evaluated(stages)


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_an_interrupted_evaluation_resumes_with_the_next_picture(
    stages: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model_folder(stages / "model", name=name, N=4)
    hidden = (stages / "raw" / "small.png").rename(stages / "away.png")
    with pytest.raises(StageError, match="picture small"):
        evaluated(stages)
    hidden.rename(stages / "raw" / "small.png")
    measured = _counted(monkeypatch)
    report = evaluated(stages)
    assert measured == ["small"]
    assert {path.stem for path in (report / "streams").iterdir()} == set(SIZES)
    evaluated(stages)
    assert len(measured) == 4, "a finished evaluation leaves nothing of the model behind"


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the pictures that the model measures in this process from now on."""
    measured: list[str] = []
    measure = ModelUnderTest.measure

    def counting(self: ModelUnderTest, reference: Reference, *rest: Any) -> Any:
        measured.append(reference.image_id)
        return measure(self, reference, *rest)

    monkeypatch.setattr(ModelUnderTest, "measure", counting)
    return measured


def test_classical_codecs_are_measured_once(stages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = table_of(evaluated(stages))
    encode, encoded = Jpeg.encode, []

    def counting(self: Jpeg, image: Image.Image, quality: float, path: Path) -> None:
        encoded.append(quality)
        encode(self, image, quality, path)

    monkeypatch.setattr(Jpeg, "encode", counting)
    monkeypatch.setattr(stage, "write_examples", lambda *_: None)
    again = table_of(evaluated(stages))
    assert encoded == []
    jpeg = [frame[frame["codec"] == "jpeg"].drop(columns="psnr_by_class") for frame in (first, again)]
    assert jpeg[0].equals(jpeg[1]), "their seconds too"
    monkeypatch.setattr(Jpeg, "library", lambda _: "a newer one")
    evaluated(stages)
    assert len(encoded) == 3 * 6
    rows = read_manifest(stages / "curated" / "manifest.parquet")
    rows[0]["boxes"] = [Box(0, 0, 1, 1, "Owl")]
    write_manifest(stages / "curated" / "manifest.parquet", rows)
    evaluated(stages)
    assert len(encoded) == 4 * 6, "the picture whose boxes changed"


@pytest.fixture
def additions() -> Iterator[None]:
    """A metric of which less is better and a codec, each by its class alone."""

    @register_metric("largest_error")
    class LargestError(Metric):
        facts = MetricFacts("Largest error", digits=0, higher_is_better=False)

        def measure(self, pair: Pair, weights: Any = None) -> float:
            return float(np.abs(pair.original.astype(int) - pair.decoded).max())

    @register_codec("jpeg-grey")
    class Grey(Jpeg):
        title, qualities = "Grey JPEG", (10, 50)

        def encode(self, image: Image.Image, quality: float, path: Path) -> None:
            super().encode(image.convert("L"), quality, path)

    for registry, name in ((METRICS, "largest_error"), (CODECS, "jpeg-grey")):
        registry.own[name] = next(iter(registry.own.values()))  # as if a file of the room held it
    yield
    for registry, name in ((METRICS, "largest_error"), (CODECS, "jpeg-grey")):
        del registry.own[name], registry._things[name]


def test_an_added_metric_and_codec_need_no_other_line(stages: Path, additions: None) -> None:
    from balle_li.comparison.report import write_report
    from balle_li.comparison.summary import write_summary

    tiny_model_folder(stages / "model", name="balle-li-roi", N=4)
    report = evaluated(stages, metrics=["largest_error", "psnr"], codecs=["jpeg-grey"])
    log = Log()
    write_summary(report, log)
    write_report(report, "0123456789", {"lmbda": "0.01"}, stages / "pages", log)
    assert table_of(report)["largest_error"].notna().all()
    figures = json.loads((report / "figures.json").read_text())
    assert {"largest_error", "saved_largest_error", "bd_largest_error"} <= set(figures) and "ms_ssim" not in figures
    assert "test/largest_error" in log.figures
    assert "largest_error" in json.loads((report / "metrics.json").read_text())["bd_rate"]
    assert all("largest_error" in point for point in json.loads((report / "rd_curve.json").read_text()))
    page = (stages / "pages" / "report.html").read_text()
    assert "fewer bits by Largest error, %" in page and "Grey JPEG" in page and "Largest error, lower is better" in page


class Log:
    """What a run was told."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.artifacts: list[str] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.figures |= values

    def picture(self, name: str, step: int, image: np.ndarray) -> None: ...

    def artifact(self, path: Path, folder: str | None = None) -> None:
        assert path.is_file()
        self.artifacts.append(path.name if folder is None else f"{folder}/{path.name}")


def test_missing_model_names_the_command(stages: Path) -> None:
    (stages / "model" / "model.json").unlink()
    with pytest.raises(StageError, match="run `kedro run --pipeline train` first"):
        evaluated(stages)


def test_damaged_model_is_one_line(stages: Path) -> None:
    (stages / "model" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(BalleLiError) as caught:
        evaluated(stages)
    assert "\n" not in str(caught.value) and "damaged" in str(caught.value)


def test_unreadable_test_picture_is_named(stages: Path) -> None:
    (stages / "raw" / "small.png").write_text("not a picture")
    with pytest.raises(StageError, match=r"picture small: .*small\.png"):
        evaluated(stages)


def test_a_picture_that_changed_since_curate_is_not_measured(stages: Path) -> None:
    picture = stages / "raw" / "small.png"
    original = picture.read_bytes()
    Image.new("RGB", SIZES["small"][::-1], "red").save(picture)
    with pytest.raises(StageError, match=r"picture small: .*small\.png.*changed since curate.*--pipeline curate"):
        evaluated(stages)
    picture.write_bytes(original)
    frame = table_of(evaluated(stages))
    own = frame[(frame["image_id"] == "small") & (frame["codec"] == "balle-li")]
    assert set(own["source_bytes"]) == {len(original)}, "nothing of the other picture was kept"


def test_jpeg_of_the_same_size_is_the_nearest_quality(stages: Path) -> None:
    reference = test_set.read_reference(stages / "raw", test_set.read_rows(stages / "curated")[0])
    row, decoded = jpeg_of_size(reference, 2500, ["psnr"])
    assert abs(row["stream_bytes"] - 2500) < 250 and decoded.shape == reference.pixels.shape
    assert jpeg_of_size(reference, 1, ["psnr"])[0]["setting"] == "quality 1, 4:2:0"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metrics": ["vmaf"]}, "metric 'vmaf' is unknown"),
        ({"metrics": []}, "metrics names none"),
        ({"qualities": [101]}, r"qualities\[0\] is 101, must be at most 100"),
        ({"jpeg_qualities": [0]}, r"jpeg_qualities\[0\] is 0, must be at least 1"),
        ({"codecs": ["gif"]}, "classical codec 'gif' is unknown"),
        ({"extra_sets": {"test": "kodak"}}, "extra_sets: 'test'"),
        ({"extra_sets": {"../kodak": "kodak"}}, "extra_sets: '../kodak'"),
        ({"pictures_on_page": 0}, "pictures_on_page"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_configuration_is_checked(values: dict[str, object], message: str) -> None:
    section = {**dataclasses.asdict(CONFIG), **values}
    with pytest.raises(ConfigError, match=message):
        read(EvaluationConfig, section, "evaluate")


def test_the_papers_jpeg_qualities_are_always_measured() -> None:
    assert CONFIG.all_jpeg_qualities == [4, 8, 16, 32, 50, 90]
