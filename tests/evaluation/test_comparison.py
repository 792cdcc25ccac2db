import json
import logging
import re
import shutil
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluation.stages import SIZES, make_stages
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.compute import ComputeConfig
from balle_li.errors import BalleLiError
from balle_li.evaluation.comparison_plots import PLOTS
from balle_li.evaluation.comparison_report import render, write_comparison
from balle_li.evaluation.config import EvaluationConfig
from balle_li.evaluation.evaluate import evaluate
from balle_li.evaluation.evaluated_run import EvaluatedRun, read_run
from balle_li.evaluation.series import make_series
from balle_li.evaluation.styles import style
from balle_li.run_log import NoLog

# Name, model and seed of its random weights, and parameters: two points of one curve, one point, and a curve by itself.
RUNS = {
    "a": ("balle", 0, {"lmbda": "0.01", "model.N": "4"}),
    "b": ("balle", 1, {"lmbda": "0.02", "model.N": "4"}),
    "c": ("balle", 2, {"lmbda": "0.01", "model.N": "8"}),
    "d": ("balle-li-roi", 0, {"lmbda": "0.01", "model.N": "4"}),
}


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a run, as evaluate leaves it."""
    folder = tmp_path_factory.mktemp("evaluations")
    stages = make_stages(folder / "stages")
    config = EvaluationConfig(
        qualities=[0, 100], jpeg_qualities=[50], codecs=["webp"], extra_sets={"more": str(stages / "raw")}, device="cpu",
        pictures_on_page=1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        for name, (model, seed, _) in RUNS.items():
            tiny_model_folder(stages / "model", model, 4, seed)
            inputs = stages / "raw", stages / "curated", stages / "model"
            evaluate(*inputs, config, {}, ComputeConfig(None, 1), folder / name, NoLog())
    return folder


def _read(evaluations: Path, name: str) -> EvaluatedRun:
    parameters = RUNS[name][2]
    return read_run(
        f"{name * 8}", f"run-{name}", "2026-01-01", f"file:///mlruns/{name}", parameters, evaluations / name
    )


@pytest.fixture(scope="module")
def report(evaluations: Path) -> Path:
    folder = evaluations / "report"
    write_comparison([_read(evaluations, name) for name in RUNS], folder)
    return folder


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


def _data(report: Path) -> dict[str, Any]:
    page = Page((report / "report.html").read_text())
    ((_, text),) = [found for found in page.scripts if found[0].get("type") == "application/json"]
    data: dict[str, Any] = json.loads(text)
    return data


def test_report_needs_nothing_but_itself(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Page(text)
    assert page.addresses == ["data:,"]
    assert not re.search(r"url\((?!data:)|@import|fetch\(|XMLHttpRequest|import\(", text)
    assert "default-src 'none'" in text and "{{" not in text
    assert {path.name for path in report.iterdir()} == {*PLOTS, "report.html", "comparison.json"}
    for name in PLOTS:
        with Image.open(report / name) as picture:
            assert picture.format == "PNG" and picture.width > 1000


def test_report_has_every_models_figures_and_where_they_come_from(report: Path) -> None:
    data = _data(report)
    assert {run["label"] for run in data["runs"].values()} == {
        "balle, N=4, lmbda=0.01", "balle, N=4, lmbda=0.02", "balle, N=8", "balle-li-roi",
    }  # fmt: skip
    assert {run["source"] for run in data["runs"].values()} == {f"file:///mlruns/{name}" for name in RUNS}
    assert list(data["sets"]) == ["test", "more"]
    for compared in data["sets"].values():
        assert {row["run"] for row in compared["overview"]} == set(data["runs"])
        assert {point["run"] for curve in compared["curves"] for point in curve["points"]} == set(data["runs"])
        assert {entry["run"] for entry in compared["spread"]} == {*data["runs"], None}
        assert [curve["name"] for curve in compared["classical"]] == ["jpeg", "webp"]
        assert set(compared["shown"]) == set(data["runs"])
    assert {len(curve["points"]) for curve in data["sets"]["test"]["curves"]} == {2, 1, 3}
    papers = [entry["label"] for entry in data["sets"]["test"]["spread"] if entry["run"] is None]
    assert papers == [f"JPEG, quality {quality}, 4:2:0" for quality in (8, 16, 32)]


def test_report_shows_the_pictures_and_keeps_each_once(report: Path) -> None:
    data = _data(report)
    originals = set()
    for entries in data["sets"]["test"]["shown"].values():
        assert {entry["image_id"] for entry in entries} == set(SIZES)
        for entry in entries:
            assert all(data["images"][key].startswith("data:image/webp;base64,") for key in entry["images"].values())
            originals.add(entry["images"]["original"])
            assert (entry["bits_inside"] is not None) == bool(entry["boxes"])
    assert len(originals) == len(SIZES)


def test_bd_rates_are_against_every_curve(report: Path) -> None:
    found = _data(report)["sets"]["test"]["bd_rate"]
    names = {"jpeg", "webp", "balle, N=4", "balle-li-roi"}  # a point alone has none
    assert {anchor: {anchor, *tested} for anchor, tested in found.items()} == dict.fromkeys(names, names)
    assert set(found["jpeg"]["webp"]["psnr"]) == {"percent", "overlap", "warning"}
    assert found["jpeg"]["webp"]["psnr"]["percent"] is not None


def test_twenty_models_look_different() -> None:
    looks = [style(index) for index in range(20)]
    assert len(set(looks)) == 20 and len({look.colour for look in looks[:10]}) == 10
    assert len({(look.colour, look.mark) for look in looks}) == 20, "told apart where there is no line, too"


def _of_twenty(data: dict[str, Any]) -> dict[str, Any]:
    """The report's data with its first run twenty times, under names and at lmbdas of their own."""
    names = [f"balle-li-roi, steps={1000 * number}" for number in range(20)]
    test = data["sets"]["test"]
    (first, run), curve = next(iter(data["runs"].items())), test["curves"][0]
    ids = [f"{number:08d}" for number in range(20)]
    spread = next(entry for entry in test["spread"] if entry["run"] == first)
    row = next(entry for entry in test["overview"] if entry["run"] == first)
    few = {
        "curves": [curve | {"name": name, "title": name} for name in names],
        "overview": [row | {"run": one, "rd_cost": 2.0 - number / 100} for number, one in enumerate(ids)],
        "spread": [spread | {"label": names[i], "series": i, "run": one} for i, one in enumerate(ids)],
        "shown": {},
        "bd_rate": {},
    }
    runs = {
        one: run | {"label": names[i], "series": names[i], "lmbda": ("0.01", "0.02")[i % 2]}
        for i, one in enumerate(ids)
    }
    styles = [asdict(style(index)) for index in range(20)]
    return data | {"runs": runs, "series": names, "styles": styles, "sets": {"test": test | few}, "images": {}}


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_the_page_of_twenty_runs(report: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(render(_of_twenty(_data(report))))
    browser = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,3000", "--dump-dom"]
    page = subprocess.run(
        [*browser, (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    legend = page.split('id="curves-legend"')[1].split("</div>")[0]
    looks = re.findall(r'<line [^>]*stroke="(.*?)"[^>]*>.*?</line><(path|circle)', legend)
    assert legend.count("<button") == 20 + 2, "the models, JPEG and WebP"
    assert len({colour for colour, _ in looks}) >= 10
    assert page.index('id="curves"') < page.index('id="curves-legend"') and 'class="beside"' in page
    best = re.findall(
        r"<tr><td>balle-li-roi, steps=(\d+)</td>.*?</tr>", page.split('id="overview"')[1].split("</table>")[0]
    )
    marked = re.findall(r'steps=(\d+)</td>(?:(?!</tr>).)*<td class="best">1\.\d+</td>', page.split("</table>")[0])
    assert len(best) == 20 and marked == ["18000", "19000"], "the cheapest at each of the two lmbdas"
    assert "“–” stands for" in page


def test_text_in_the_data_cannot_end_its_script() -> None:
    page = Page(render({"label": "</script><script>alert(1)</script>"}))
    (found,) = [text for attributes, text in page.scripts if attributes.get("type") == "application/json"]
    assert json.loads(found) == {"label": "</script><script>alert(1)</script>"}


def test_of_equal_runs_the_newest_counts(evaluations: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, newer = _read(evaluations, "a"), _read(evaluations, "a")
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
        data = write_comparison([*(_read(evaluations, name) for name in "ab"), _read(tmp_path, "c")], tmp_path / "out")
    assert data["sets"]["test"]["left_out"] == ["cccccccc"]
    assert "run run-c (cccccccc) is left out on test: measured on other pictures" in caplog.text


def test_a_run_without_pictures_is_named_and_keeps_its_figures(
    evaluations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(evaluations / "a", tmp_path / "a", ignore=shutil.ignore_patterns("shown", "sets"))
    with caplog.at_level(logging.WARNING):
        data = write_comparison([_read(tmp_path, "a")], tmp_path / "out")
    assert "run run-a (aaaaaaaa) kept no pictures of test" in caplog.text
    assert data["sets"]["test"]["shown"] == {} and len(data["sets"]["test"]["overview"]) == 1


@pytest.mark.parametrize("name", ["metrics.json", "rd_curve.json", "pictures.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_run_without_its_figures_says_which(evaluations: Path, tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(evaluations / "a", tmp_path / "a", ignore=shutil.ignore_patterns("shown", "sets"))
    path = tmp_path / "a" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BalleLiError, match=re.escape(name)) as caught:
        _read(tmp_path, "a")
    assert "\n" not in str(caught.value)
