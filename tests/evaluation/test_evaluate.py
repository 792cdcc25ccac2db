import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.boxes import Box
from balle_li.configuration import from_mapping
from balle_li.datasets.manifest import write_manifest
from balle_li.errors import BalleLiError, ConfigError, StageError
from balle_li.evaluation import test_set
from balle_li.evaluation.config import EvaluationConfig
from balle_li.evaluation.evaluate import REPORT_FILES, evaluate
from balle_li.evaluation.picture_page import choose_examples, jpeg_of_size
from balle_li.files import sha256_file
from balle_li.run_log import NoLog

CONFIG = EvaluationConfig(jpeg_qualities=[4, 50, 90], device="cpu", pictures_on_page=2)
SIZES = {"large": (180, 200), "portrait": (170, 70), "small": (50, 66)}


@dataclass
class Log(NoLog):
    figures: dict[str, float] = field(default_factory=dict)
    artifacts: list[Path] = field(default_factory=list)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.figures |= values

    def artifact(self, path: Path, folder: str | None = None) -> None:
        assert path.is_file() and folder == "evaluation"
        self.artifacts.append(path)


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """raw, curated and model folders: three test pictures, one of them to be turned, and one of the train split."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "raw").mkdir()
    rows = []
    for index, (name, (height, width)) in enumerate({**SIZES, "train": (64, 64)}.items()):
        pixels = np.random.default_rng(index).integers(0, 255, (height // 10, width // 10, 3), np.uint8)
        path = tmp_path / "raw" / f"{name}.png"
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
        boxes = [Box("Cat", 0.2, 0.2, 0.7, 0.9), Box("Dog", 0, 0, 0.1, 0.05)] if name == "large" else []
        turned = name == "portrait"
        rows.append({
            "image_id": name, "path": path.name, "rotation": 90.0 if turned else 0.0, "boxes": boxes,
            "width": height if turned else width, "height": width if turned else height,
            "split": "train" if name == "train" else "test", "sha256": sha256_file(path),
        })  # fmt: skip
    write_manifest(tmp_path / "curated" / "manifest.parquet", rows)
    tiny_model_folder(tmp_path / "model", name="balle-li", N=4)
    return tmp_path


def _evaluate(stages: Path, log: NoLog | None = None) -> Path:
    evaluate(stages / "raw", stages / "curated", stages / "model", CONFIG, {}, stages / "report", log or NoLog())
    return stages / "report"


def test_report_holds_every_test_picture_and_figure(stages: Path) -> None:
    log = Log()
    report = _evaluate(stages, log)
    assert {path.name for path in report.iterdir()} == {*REPORT_FILES, "streams"}
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
    assert [path.name for path in log.artifacts] == list(REPORT_FILES)


def test_second_evaluation_gives_the_same_figures_and_no_stale_streams(stages: Path) -> None:
    first = json.loads((_evaluate(stages) / "metrics.json").read_text())
    stale = stages / "report" / "streams" / "gone.bli"
    stale.write_bytes(b"old")
    second = json.loads((_evaluate(stages) / "metrics.json").read_text())
    assert not stale.exists()
    for metrics in (first, second):
        metrics["model"] = {name: value for name, value in metrics["model"].items() if not name.endswith("_ms")}
    assert first == second


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
    from evaluation.measurements import measurement

    names = "abcdef"
    own = [measurement(name, "balle", "", 0.8, 30.0 + index) for index, name in enumerate(names)]
    jpeg = [measurement(name, "jpeg", str(bpp), bpp, 30.0) for name in names for bpp in (0.4, 1.2)]
    assert [m.image_id for m in choose_examples(own, jpeg, 3)] == ["f", "d", "a"]
    assert len(choose_examples(own, jpeg, 20)) == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jpeg_qualities": [0]}, "jpeg_qualities: 0"),
        ({"pictures_on_page": 0}, "pictures_on_page"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_configuration_is_checked(values: dict[str, object], message: str) -> None:
    section = {"jpeg_qualities": [50], "device": "auto", "pictures_on_page": 4, **values}
    with pytest.raises(ConfigError, match=message):
        from_mapping(EvaluationConfig, section, "evaluate")


def test_the_papers_jpeg_qualities_are_always_measured() -> None:
    assert CONFIG.all_jpeg_qualities == [4, 8, 16, 32, 50, 90]
