import json
import logging
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from comparison.evaluations import RUNS, TITLE, evaluated, read
from evaluation.stages import SIZES
from PIL import Image

from balle_li.comparison.compare import ellipse_of
from balle_li.comparison.report import curve_chart, render, write_comparison, write_report
from balle_li.comparison.runs import make_series
from balle_li.comparison.summary import write_summary
from balle_li.errors import BalleLiError
from balle_li.evaluation.metrics import facts_in
from balle_li.progress import NoLog


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a run, as the evaluate stage leaves it."""
    return evaluated(tmp_path_factory.mktemp("evaluations"))


@pytest.fixture(scope="module")
def report(evaluations: Path) -> Path:
    folder = evaluations / "report"
    write_comparison([read(evaluations, name) for name in RUNS], folder)
    return folder


@pytest.fixture(scope="module")
def data(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((report / "comparison.json").read_text())
    return found


class Page(HTMLParser):
    """The addresses that a page names in attributes, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "poster")]
        self._open = dict(attrs) if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts.append((self._open, data))

    def handle_endtag(self, tag: str) -> None:
        self._open = None


def _packed(page: str) -> dict[str, Any]:
    """What the page's own script reads."""
    ((_, text),) = [found for found in Page(page).scripts if found[0].get("id") == "data"]
    found: dict[str, Any] = json.loads(text)
    return found


def test_report_needs_nothing_but_itself(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Page(text)
    assert [address for address in page.addresses if not address.startswith("data:")] == []
    assert "default-src 'none'" in text, "the browser refuses whatever a library would fetch"
    assert any("Plotly.newPlot" in script for _, script in page.scripts) and len(text) > 1e6, "the library is inside"
    assert {path.name for path in report.iterdir()} == {"rd_curve.png", "report.html", "comparison.json"}
    with Image.open(report / "rd_curve.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_report_has_every_models_figures_and_where_they_come_from(report: Path, data: dict[str, Any]) -> None:
    labels = {"balle, N=4, lmbda=0.01", "balle, N=4, lmbda=0.02", "balle, N=8", "balle-li-roi"}
    assert {run["label"] for run in data["runs"].values()} == labels
    assert {run["source"] for run in data["runs"].values()} == {f"file:///mlruns/{name}" for name in RUNS}
    assert set(data["sets"]) == {"test", "more"}
    for compared in data["sets"].values():
        assert {row["run"] for row in compared["overview"]} == set(data["runs"])
        assert {point["run"] for curve in compared["curves"] for point in curve["points"]} == set(data["runs"])
        assert {entry["run"] for entry in compared["spread"]} == {*data["runs"], None}
        assert [curve["name"] for curve in compared["references"]] == ["jpeg", "webp", TITLE]
        assert set(compared["examples"]) == set(data["runs"])
    assert {len(curve["points"]) for curve in data["sets"]["test"]["curves"]} == {2, 1, 3}
    papers = [entry["label"] for entry in data["sets"]["test"]["spread"] if entry["run"] is None]
    assert papers == [f"JPEG, quality {quality}, 4:2:0" for quality in (8, 16, 32)]
    text = (report / "report.html").read_text()
    assert re.findall(r'<main data-set="(.*?)"( hidden)?>', text) == [("test", ""), ("more", " hidden")]
    assert all(f">{label}</td>" in text for label in labels) and "file:///mlruns/a/{metrics.json" in text


def test_report_shows_the_pictures_and_keeps_each_once(report: Path) -> None:
    packed = _packed((report / "report.html").read_text())
    originals = set()
    for entries in packed["examples"]["test"].values():
        assert {entry["image_id"] for entry in entries} == set(SIZES)
        for entry in entries:
            assert all(packed["images"][key].startswith("data:image/webp;base64,") for key in entry["images"].values())
            originals.add(entry["images"]["original"])
            assert (entry["bits_inside"] is not None) == bool(entry["boxes"])
    assert len(originals) == len(SIZES)


def test_bd_rates_are_against_every_curve(data: dict[str, Any]) -> None:
    found = data["sets"]["test"]["bd_rate"]
    names = {"jpeg", "webp", TITLE, "balle, N=4", "balle-li-roi"}  # a point alone has none
    assert {anchor: {anchor, *tested} for anchor, tested in found.items()} == dict.fromkeys(names, names)
    assert set(found["jpeg"]["webp"]["by"]["psnr"]) == {"percent", "overlap", "warning"}
    assert found["jpeg"]["webp"]["by"]["psnr"]["percent"] is not None and found["jpeg"]["webp"]["unlike"] is None


def test_the_best_of_a_column_is_marked_and_the_cheapest_of_each_lmbda(data: dict[str, Any]) -> None:
    many = json.loads(json.dumps(data))
    test = many["sets"]["test"]
    row = test["overview"][0]
    ids = list(many["runs"])
    for number, run_id in enumerate(ids):
        many["runs"][run_id]["lmbda"] = ("0.01", "0.02")[number % 2]
    test["overview"] = [row | {"run": one, "rd_cost": 2.0 - i / 10, "bits_saved_psnr": i} for i, one in enumerate(ids)]
    many["sets"] = {"test": test | {"examples": {}}}
    page = render(many)
    bold = re.search(r"<style type=\"text/css\">(.*?)</style>", page, re.S)
    assert bold is not None and "font-weight: 700" in bold[1]
    cells = re.findall(r"#(T_\w+_row\d+_col\d+)", bold[1])
    values = [re.search(rf'id="{cell}"[^>]*>([^<]*)<', page)[1] for cell in cells]  # type: ignore[index]
    assert sorted(values) == ["+3.0", "1.700", "1.800"]
    assert "No run kept pictures" in page


def test_a_chart_has_every_curve_by_every_metric(data: dict[str, Any]) -> None:
    test = data["sets"]["test"]
    chart = curve_chart(test, data["series"], facts_in(test))
    shown = [trace.name for trace in chart.data if trace.showlegend]
    assert len(chart.data) == 2 * len(shown) == 2 * (3 + 3), (
        "PSNR and MS-SSIM, of three models, JPEG, WebP and a baseline"
    )
    assert [note.text for note in chart.layout.annotations] == ["PSNR (dB)", "MS-SSIM (dB)"]


def test_text_in_the_data_cannot_end_its_script(data: dict[str, Any]) -> None:
    evil = "</script><script>alert(1)</script>"
    run_id = next(iter(data["runs"]))
    runs = {**data["runs"], run_id: {**data["runs"][run_id], "label": evil}}
    compared = {**data["sets"]["test"], "examples": {}}
    page = render({**data, "runs": runs, "sets": {"test": compared}})
    assert evil not in page and _packed(page)["labels"][run_id] == evil


def test_one_run_has_a_report_with_a_page_of_pictures(evaluations: Path, tmp_path: Path) -> None:
    class Log(NoLog):
        kept: list[str] = []  # noqa: RUF012

        def artifact(self, path: Path, folder: str | None = None) -> None:
            self.kept.append(path.name if folder is None else f"{folder}/{path.name}")

    write_report(evaluations / "d", "0123456789abcdef", RUNS["d"][2], tmp_path, Log())
    pages = ["rd_curve.png", "pictures.png"]
    files = [*pages, "report.html", "comparison.json", *(f"sets/more/{name}" for name in pages)]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == sorted(files)
    assert sorted(Log.kept) == sorted([*pages, *(f"report/{name}" for name in files)])
    with Image.open(tmp_path / "pictures.png") as page:
        assert page.width > page.height  # a row, and five columns as the model has an importance map
    assert "JPEG was measured from" in (tmp_path / "report.html").read_text(), "the verdict"


def test_ellipse_is_one_standard_deviation_of_the_covariance() -> None:
    import numpy as np

    points = np.random.default_rng(0).multivariate_normal([3, 1], [[4, 1.5], [1.5, 1]], 2000)
    outline = np.asarray(ellipse_of(points))
    away = outline - points.mean(axis=0)
    distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(points.T)), away)
    assert distance == pytest.approx(np.ones(len(outline)))
    assert outline[0] == pytest.approx(outline[-1])
    assert ellipse_of(np.array([(1.0, 2.0), (2.0, 3.0), (np.nan, 1.0)])) == []


def test_of_equal_runs_the_newest_counts(evaluations: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, newer = read(evaluations, "a"), read(evaluations, "a")
    with caplog.at_level(logging.WARNING):
        (series,) = make_series([older, newer])
    assert series.runs == (newer,) and series.runs[0] is newer
    assert "run-a (aaaaaaaa) is left out" in caplog.text


def test_runs_on_other_pictures_are_left_out_and_named(
    evaluations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(evaluations / "c", tmp_path / "c")
    metrics = json.loads((tmp_path / "c" / "metrics.json").read_text())
    (tmp_path / "c" / "metrics.json").write_text(json.dumps(metrics | {"test_set": "other"}))
    with caplog.at_level(logging.WARNING):
        data = write_comparison([*(read(evaluations, name) for name in "ab"), read(tmp_path, "c")], tmp_path / "out")
    assert data["sets"]["test"]["left_out"] == ["cccccccc"]
    assert "run run-c (cccccccc) is left out on test: measured on other pictures" in caplog.text


def test_a_run_without_pictures_is_named_and_keeps_its_figures(
    evaluations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(evaluations / "a", tmp_path / "a", ignore=shutil.ignore_patterns("examples", "sets"))
    with caplog.at_level(logging.WARNING):
        data = write_comparison([read(tmp_path, "a")], tmp_path / "out")
    assert "run run-a (aaaaaaaa) kept no pictures of test" in caplog.text
    assert data["sets"]["test"]["examples"] == {} and len(data["sets"]["test"]["overview"]) == 1


def test_sets_of_an_evaluation_before_in_the_same_run_are_not_read(evaluations: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    shutil.copytree(evaluations / "a", folder, ignore=shutil.ignore_patterns("examples", "sets"))
    write_summary(folder, NoLog())
    shutil.copytree(evaluations / "a" / "sets", folder / "sets")
    assert list(read(tmp_path, "a").sets) == ["test"]
    assert list(read(evaluations, "a").sets) == ["test", "more"]
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["sets"]  # as an older evaluation left it
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert list(read(tmp_path, "a").sets) == ["test", "more"]


@pytest.mark.parametrize("name", ["metrics.json", "rd_curve.json", "measurements.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_run_without_its_figures_says_which(evaluations: Path, tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(evaluations / "a", tmp_path / "a", ignore=shutil.ignore_patterns("examples", "sets"))
    path = tmp_path / "a" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BalleLiError, match=re.escape(name)) as caught:
        read(tmp_path, "a")
    assert "\n" not in str(caught.value)
