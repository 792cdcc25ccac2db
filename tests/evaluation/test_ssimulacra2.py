"""SSIMULACRA 2 against values of the reference, and from an evaluation to the registry."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation.stages import evaluated
from PIL import Image
from skimage.data import chelsea
from tiny_model import tiny_model_folder

from balle_li.comparison.curves import bd_rate
from balle_li.comparison.report import write_report
from balle_li.comparison.summary import write_summary
from balle_li.config import ComputeConfig, RegisterConfig
from balle_li.evaluation import evaluate as stage
from balle_li.evaluation.metrics import MetricFacts, Pair, Regions, Ssimulacra2, measure
from balle_li.tracking.model_card import Origin, write_card

NAME = "ssimulacra2"


def score(original: np.ndarray, decoded: np.ndarray) -> float:
    return Ssimulacra2().measure(Pair(original, decoded))


def grey(side: int, level: int) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def noise(side: int) -> np.ndarray:
    """That of the published values: Knuth's linear congruential generator from 42."""
    state, values = 42, []
    for _ in range(side * side * 3):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(state >> 33 & 255)
    return np.array(values, np.uint8).reshape(side, side, 3)


@pytest.mark.parametrize(
    ("side", "shift", "published"), [(128, 20, 54.279), (128, 50, -9.824), (256, 20, 59.779), (256, 50, -0.391)]
)
def test_steps_of_grey_have_the_values_of_libjxl(side: int, shift: int, published: float) -> None:
    """Published by github.com/imazen/ssimulacra2 (reference_data.rs), which ran libjxl's tool on them."""
    assert score(grey(side, 128), grey(side, 128 + shift)) == pytest.approx(published, abs=0.1)


def test_texture_has_the_values_of_libjxl(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same place; the pictures are so small that the reference finds five scales."""
    monkeypatch.setattr("ssimulacra2.ssimulacra2.kNumScales", 5)
    ramp = np.broadcast_to((np.arange(64) * 255 // 63).astype(np.uint8)[None, :, None], (64, 64, 3))
    assert score(noise(64), grey(64, 128)) == pytest.approx(-47.336, abs=0.01)
    assert score(ramp, grey(64, 128)) == pytest.approx(-64.569, abs=0.01)


def test_exact_pictures_have_100_and_better_ones_more() -> None:
    cat = chelsea()
    found = [score(cat, as_jpeg(cat, quality)) for quality in (1, 10, 30, 60, 90)]
    assert score(cat, cat) == 100
    assert found == sorted(found) and found[0] < 0 and 80 < found[-1] < 100


def test_a_turned_picture_has_the_same_value() -> None:
    cat = chelsea()[:150, :200]
    other = as_jpeg(cat, 20)
    turned = score(cat.transpose(1, 0, 2), other.transpose(1, 0, 2))
    assert turned == pytest.approx(score(cat, other), abs=1e-6)


@pytest.mark.parametrize(("side", "defined"), [(112, False), (113, True)])
def test_of_small_pictures_there_is_no_value(side: int, defined: bool) -> None:
    pair = Pair(chelsea()[:150, :side], as_jpeg(chelsea()[:150, :side], 50))
    assert (measure(pair, [NAME], Regions())[NAME] is not None) == defined


def test_the_package_is_imported_when_it_measures() -> None:
    facts = f"from balle_li.evaluation.metrics import MetricFacts; MetricFacts.of('{NAME}')"
    code = f"import sys; {facts}; assert not {{'{NAME}', 'scipy', 'torch'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def stages(stages: Path, home: Path) -> Path:
    """With a model of every rate, and an MLflow of its own."""
    tiny_model_folder(stages / "model", name="balle-li-roi", N=4)
    return stages


def test_once_chosen_it_is_shown_compared_and_registered_by(stages: Path) -> None:
    from balle_li.tracking import connection, registry, run

    report = evaluated(stages, metrics=["psnr", NAME])
    run_id = run.open_run({}, {})
    with run.attached(run_id, {}, {}) as log:
        write_summary(report, log)
        write_report(report, run_id, {"lmbda": "0.01"}, stages / "pages", log)
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["model"][NAME] < 100
    assert metrics["counts"][f"pictures_without_{NAME}"] == 2
    assert NAME in metrics["bd_rate"]
    for curves in ("rd_curve.json", "classical.json"):
        assert all(point[NAME] < 100 for point in json.loads((report / curves).read_text()))
    assert f"bd_{NAME}" in json.loads((report / "figures.json").read_text())
    assert connection.connect().get_run(run_id).data.metrics[f"test/{NAME}"] == metrics["model"][NAME]
    compared = json.loads((stages / "pages" / "comparison.json").read_text())["sets"]["test"]
    assert NAME in compared["bd_rate"]["jpeg"]["balle-li-roi"]["by"]
    assert "SSIMULACRA 2" in (stages / "pages" / "report.html").read_text()

    training = {"steps": 1, "best_step": 1, "device": "cpu", "precision": "fp32", "seconds": 1.0}
    (stages / "model" / "training.json").write_text(json.dumps(training))

    def card(version: str) -> str:
        return write_card(stages / "model", stages / "curated", report, Origin("codec", version, run_id, {}, {}))

    assert f"| SSIMULACRA 2 | {metrics['model'][NAME]:.2f} |" in card("1")
    config = RegisterConfig("codec", NAME, max_encode_ms=None, max_decode_ms=None, max_megabytes=None, min_gain=0.01)
    for better in (False, True):
        points = json.loads((report / "rd_curve.json").read_text())
        for number, point in enumerate(points):  # of an untrained model more bits are not better
            point |= {"bpp": (0.5 if better else 1.0) * (1 + number), NAME: 20.0 * number - 30}
        (report / "rd_curve.json").write_text(json.dumps(points))
        with run.attached(run_id, {}, {}):
            done = registry.register(config, stages / "model", report, card, bd_rate)
    assert done["promoted"] and "BD-rate -50.0 % by SSIMULACRA 2 saves bits" in done["reason"]


class Spread(Exception):
    """Worker processes would have started."""


def test_a_slow_metric_says_so_and_is_spread_sooner(
    stages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def cluster(_: ComputeConfig) -> None:
        raise Spread

    # Three pictures, 0.0512 megapixels, nine files of each.
    seconds = 0.0512 * 9 * MetricFacts.of(NAME).seconds_per_megapixel
    monkeypatch.setattr(stage, "cluster", cluster)
    monkeypatch.setattr(stage, "SLOW", 0.9 * seconds)
    caplog.set_level(logging.INFO, "balle_li")
    two = ComputeConfig(scheduler=None, workers=2)
    evaluated(stages, two, metrics=["psnr"])
    assert "is slow" not in caplog.text
    with pytest.raises(Spread):
        evaluated(stages, two, metrics=["psnr", NAME])
    assert caplog.text.count("SSIMULACRA 2 is slow: about 1 s a megapixel of every decoded picture on one core") == 1
    monkeypatch.setattr(stage, "SLOW", 1.1 * seconds)
    evaluated(stages, two, metrics=["psnr", NAME])
