"""What runs are held against: baselines, published curves of the same kind, and a word where kinds differ."""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from comparison.evaluations import BASELINE, RUNS, TITLE, evaluated
from comparison.evaluations import read as read_evaluation

from balle_li.comparison import plots
from balle_li.comparison.compare import compare_runs
from balle_li.comparison.curves import RdCurve
from balle_li.comparison.report import write_comparison
from balle_li.comparison.runs import make_series
from balle_li.comparison.summary import against_baseline, logged_metrics
from balle_li.errors import StageError
from balle_li.evaluation.metrics import all_facts
from balle_li.files import read_json, write_json


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of a variable-rate model."""
    return evaluated(tmp_path_factory.mktemp("evaluations"), ["d"])


def changed(evaluations: Path, folder: Path, name: str, **changes: Any) -> Path:
    """A copy of the evaluation under another name, with other metrics.json."""
    shutil.copytree(evaluations / "d", folder / name, ignore=shutil.ignore_patterns("sets"))
    metrics = read_json(folder / name / "metrics.json")
    write_json(folder / name / "metrics.json", metrics | changes)
    return folder


def compared(folder: Path, names: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The test split of a comparison of runs with these parameters."""
    runs = [read_evaluation(folder, name, parameters) for name, parameters in names.items()]
    found: dict[str, Any] = compare_runs(make_series(runs))["sets"]["test"]
    return found


def curves(found: Mapping[str, Any], sort: str) -> dict[str, str | None]:
    """Kind by title."""
    return {one["title"]: one["kind"] for one in found["references"] if one["sort"] == sort}


def test_a_baseline_stands_in_the_metrics_and_in_the_comparison(evaluations: Path) -> None:
    metrics = read_json(evaluations / "d" / "metrics.json")
    (told,) = metrics["baselines"].values()
    assert told["kind"] == metrics["kind"] == "mse" and set(told["bd_rate"]) == {"psnr", "ms_ssim"}
    assert told["verdict"].startswith(f"BD-rate against {BASELINE} (N=4, lmbda=0.01): ")
    found = compared(evaluations, {"d": RUNS["d"][2]})
    assert curves(found, "baseline") == {TITLE: "mse"}
    (points,) = [one["points"] for one in found["references"] if one["title"] == TITLE]
    assert [point["setting"].rpartition(", ")[2] for point in points] == ["quality 0", "quality 50", "quality 100"]
    assert found["bd_rate"][TITLE]["balle-li-roi"]["unlike"] is None
    assert found["verdict"][-1] == told["verdict"]
    rates = {name: rate | {"percent": -3.0} for name, rate in told["bd_rate"].items()}
    moved = metrics | {"baselines": {"kept//model/": told | {"bd_rate": rates}}}
    assert "test/bd_rate_psnr_against_kept__model_" in logged_metrics(moved), "MLflow takes no path that is not plain"


def test_baselines_of_one_name_that_are_different_models_are_told_apart(evaluations: Path, tmp_path: Path) -> None:
    known = read_json(evaluations / "d" / "metrics.json")["baselines"][BASELINE]
    changed(evaluations, tmp_path, "one")
    changed(evaluations, tmp_path, "two", baselines={BASELINE: known | {"digest": "0123456789"}})
    found = compared(tmp_path, {"one": {"lmbda": "1"}, "two": {"lmbda": "2"}})
    assert sorted(curves(found, "baseline")) == sorted(
        f"{BASELINE} ({digest}), baseline, MSE" for digest in ("012345", known["digest"][:6])
    )


def test_of_a_baseline_that_several_runs_measured_the_fullest_curve_stands(evaluations: Path, tmp_path: Path) -> None:
    changed(evaluations, tmp_path, "full")
    changed(evaluations, tmp_path, "short")
    points = read_json(tmp_path / "short/baselines.json")
    write_json(tmp_path / "short/baselines.json", points[:1])
    for order in (("full", "short"), ("short", "full")):
        found = compared(tmp_path, {name: {"lmbda": name} for name in order})
        (curve,) = [one for one in found["references"] if one["sort"] == "baseline"]
        assert len(curve["points"]) == len(points) == 3


def test_a_model_of_one_rate_is_held_against_a_baseline_at_its_quality() -> None:
    def curve(codec: str, *points: tuple[float, float]) -> RdCurve:
        return RdCurve.of(codec, [{"setting": "", "bpp": bpp, "psnr": psnr} for bpp, psnr in points])

    facts, metrics = {"setting": "N=4", "kind": "mse"}, all_facts(["psnr"])
    line, above, away = curve("line", (1.0, 30.0), (2.0, 40.0)), curve("x", (1.5, 40.0)), curve("x", (1.0, 50.0))

    def told(anchor: RdCurve, test: RdCurve) -> str:
        return str(against_baseline("other", facts, "mse", metrics, (anchor, test))["verdict"])

    assert told(line, above) == "Bits at equal quality against other (N=4): -25.0 % by PSNR."
    assert told(above, line) == "Bits at equal quality against other (N=4): +33.3 % by PSNR."
    assert told(line, away) == "Bits at equal quality against other (N=4): none by PSNR."
    assert told(line, line) == "BD-rate against other (N=4): +0.0 % by PSNR."


def test_published_curves_of_the_same_kind_stand_beside_runs_on_the_same_pictures(
    evaluations: Path, tmp_path: Path
) -> None:
    changed(evaluations, tmp_path, "mse", known_as="kodak")
    changed(evaluations, tmp_path, "ms-ssim", known_as="kodak", kind="ms-ssim")
    assert curves(compared(evaluations, {"d": {}}), "published") == {}
    found = compared(tmp_path, {"mse": {}})
    of_models = {title: kind for title, kind in curves(found, "published").items() if kind is not None}
    assert set(of_models.values()) == {"mse"} and "bmshj2018-hyperprior, published, MSE" in of_models
    assert "VTM (VVC intra), published" in curves(found, "published"), "a codec that nobody trained stands beside all"
    assert "CompressAI" in found["published_from"]
    other = curves(compared(tmp_path, {"ms-ssim": {}}), "published")
    assert "bmshj2018-hyperprior, published, MS-SSIM" in other and "bmshj2018-hyperprior, published, MSE" not in other
    both = curves(compared(tmp_path, {"mse": {"train.tune": "psnr"}, "ms-ssim": {}}), "published")
    assert set(both.values()) == {"mse", "ms-ssim", None}


def test_a_bd_rate_across_kinds_says_so(evaluations: Path, tmp_path: Path) -> None:
    changed(evaluations, tmp_path, "one", kind="ms-ssim")
    found = compared(tmp_path, {"one": {}})
    words = "trained for different things, MSE and MS-SSIM"
    assert found["bd_rate"][TITLE]["balle-li-roi"]["unlike"] == words
    assert found["bd_rate"]["jpeg"]["balle-li-roi"]["unlike"] is None, "nobody trained JPEG"
    write_comparison([read_evaluation(tmp_path, "one", {})], tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert words in page and ">trained for</th>" in page and ">MS-SSIM</td>" in page


def test_runs_are_filtered_by_their_kind(evaluations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from pipelines.compare.nodes import of_kind

    changed(evaluations, tmp_path, "one")
    changed(evaluations, tmp_path, "two", kind="ms-ssim")
    runs = [read_evaluation(tmp_path, name, {}) for name in ("one", "two")]
    assert of_kind(runs, "any") == runs and of_kind(runs, "mse") == runs[:1] and of_kind(runs, "ms-ssim") == runs[1:]
    with caplog.at_level(logging.INFO):
        of_kind(runs, "mse")
    assert "1 run is of another kind" in caplog.text
    with pytest.raises(StageError, match=r"set compare\.kind to any"):
        of_kind(runs[:1], "ms-ssim")


def test_metrics_without_a_kind_are_of_another_version(evaluations: Path, tmp_path: Path) -> None:
    changed(evaluations, tmp_path, "old")
    path = tmp_path / "old/metrics.json"
    path.write_text(json.dumps({key: value for key, value in read_json(path).items() if key != "kind"}))
    with pytest.raises(Exception, match="of another version of the project"):
        read_evaluation(tmp_path, "old", {})


def test_published_curves_are_drawn_as_far_as_rates_were_measured(
    evaluations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, float] = {}

    def plot_rd(models: object, references: Iterable[RdCurve], *rest: object) -> None:
        drawn.update({curve.codec: float(curve.points["bpp"].max()) for curve in references})

    monkeypatch.setattr(plots, "plot_rd", plot_rd)
    changed(evaluations, tmp_path, "one", known_as="kodak")
    found = compared(tmp_path, {"one": {}})
    plots.draw_curves(found, tmp_path / "x.png")
    highest = max(bpp for codec, bpp in drawn.items() if "published" not in codec)
    assert drawn["VTM (VVC intra), published"] < highest < 3.63
    for curve in found["references"]:
        if curve["sort"] != "published":
            curve["points"] = [point | {"bpp": 0.01} for point in curve["points"]]
    found["curves"][0]["points"] = [point | {"bpp": 0.01} for point in found["curves"][0]["points"]]
    drawn.clear()
    plots.draw_curves(found, tmp_path / "x.png")
    assert not any("published" in codec for codec in drawn), "none reaches so low a rate"
