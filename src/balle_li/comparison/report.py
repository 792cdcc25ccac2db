"""`report.html`: a comparison as one file that needs no network; `comparison.json`: the same for programs.

The page is a Jinja template with Plotly's charts; Plotly's library lies inside, so that it works from file:// for ever.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.comparison.compare import compare_runs
from balle_li.comparison.plots import PICTURE_PAGE, RD_PLOT, draw_curves, draw_page, style, title_of
from balle_li.comparison.references import PUBLISHED
from balle_li.comparison.runs import EvaluatedRun, make_series, read_run
from balle_li.config import TEST_SET
from balle_li.errors import BalleLiError
from balle_li.evaluation.measurements import EVALUATION_FILE, EXAMPLES
from balle_li.evaluation.metrics import INSIDE, OUTSIDE, MetricFacts, facts_in
from balle_li.evaluation.published import KIND_TITLES
from balle_li.files import read_json, write_bytes, write_json
from balle_li.progress import RunLog

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

REPORT_FILE, COMPARISON_FILE = "report.html", "comparison.json"
SIDE_BY_SIDE = (RD_PLOT, PICTURE_PAGE)
"""Also outside the run's folders: the page on which MLflow compares runs offers only files that lie in none."""
GREYS = (
    ("#555", "solid"),
    ("#888", "dash"),
    ("#555", "dot"),
    ("#888", "dashdot"),
    ("#aaa", "solid"),
    ("#aaa", "longdash"),
)
JPEG_COLOUR = "#777777"
RATIO = "compression ratio (source file / stream)"
PANEL = 430
"""Pixels of a chart's height."""
ROW = 30
"""Pixels of a row of boxes or bars."""
MOST_SIDE_BY_SIDE = 10
"""Curves; with more, the panels stand below each other and are larger."""

NO_FIGURE, BEST = "–", "font-weight: 700"

Data = dict[str, Any]


def write_comparison(runs: Sequence[EvaluatedRun], folder: Path) -> Data:
    """Write report.html, comparison.json and the curves of the test split as PNG to `folder`; returns what the JSON holds.

    `runs` are at least one, from the oldest to the newest. Raises BalleLiError when a run's picture cannot be read.
    """
    data = compare_runs(make_series(runs))
    data["made"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / COMPARISON_FILE, data)
    draw_curves(data["sets"][TEST_SET], folder / RD_PLOT)
    write_bytes(folder / REPORT_FILE, render(data, runs).encode())
    return data


def write_report(evaluation: Path, run_id: str, parameters: Mapping[str, str], folder: Path, log: RunLog) -> None:
    """Write the comparison of one run with the classical codecs, and its page of pictures, of every set.

    evaluation: the folder that the evaluate stage left. parameters: flat. Raises BalleLiError: the evaluation is missing,
    damaged, or of another version of the project.
    """
    facts = read_json(evaluation / EVALUATION_FILE)
    run = read_run(run_id, run_id, "", evaluation.as_posix(), parameters, evaluation)
    data = write_comparison([run], folder)
    for name, result in run.sets.items():
        place = folder if name == TEST_SET else folder / "sets" / name
        if name != TEST_SET:
            draw_curves(data["sets"][name], place / RD_PLOT)
        title = f"{run.model} ({facts['model']['setting']})"
        draw_page(result.examples or [], result.facts, title, result.folder, place / PICTURE_PAGE)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        log.artifact(path, (Path("report") / path.relative_to(folder).parent).as_posix())
    for name in SIDE_BY_SIDE:
        log.artifact(folder / name)


def render(data: Mapping[str, Any], runs: Iterable[EvaluatedRun] = ()) -> str:
    """The page with its style, scripts, charts and pictures inside. `runs` have the pictures that are shown."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    templates = files("balle_li.comparison") / "templates"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((templates / "report.html").read_text(encoding="utf-8"))
    images: dict[str, str] = {}
    folders = {(run.run_id, name): result.folder for run in runs for name, result in run.sets.items()}
    sets, examples = {}, {}
    for name, compared in data["sets"].items():
        sets[name] = _page_of(data, compared, "" if name == TEST_SET else f"sets/{name}/")
        examples[name] = {
            run_id: [
                {**entry, "images": _add(images, folders[run_id, name] / EXAMPLES / entry["image_id"], entry["views"])}
                for entry in entries
            ]
            for run_id, entries in compared["examples"].items()
        }
    labels = {run_id: run["label"] for run_id, run in data["runs"].items()}
    metrics = {
        facts.name: {"title": facts.title, "unit": facts.unit, "digits": facts.digits} for facts in _all_metrics(data)
    }
    return template.render(
        data=data,
        sets=sets,
        plotly=get_plotlyjs(),
        style=(templates / "report.css").read_text(encoding="utf-8"),
        script=(templates / "report.js").read_text(encoding="utf-8"),
        packed=_packed({"examples": examples, "images": images, "labels": labels, "metrics": metrics}),
    )


def _page_of(data: Mapping[str, Any], compared: Mapping[str, Any], place: str) -> Data:
    """The tables and charts of one set of pictures."""
    metrics = facts_in(compared)
    titles = {curve["name"]: curve["title"] for curve in (*compared["curves"], *compared["references"])}
    charts = {
        "curves": curve_chart(compared, data["series"], metrics),
        "boxes": box_chart(compared["spread"], metrics),
        "scatter": scatter_chart(compared["spread"], metrics),
    }
    return {
        "place": place,
        "overview": _overview(data, compared, metrics),
        "regions": _regions(data, compared, [facts for facts in metrics if facts.regions]),
        "bd_rate": {
            anchor: (titles[anchor], _bd_rates(data, found, titles, metrics))
            for anchor, found in compared["bd_rate"].items()
        },
        "charts": {name: _packed(json.loads(chart.to_json())) for name, chart in charts.items()},
        "left_out": [data["runs"][run_id]["label"] for run_id in compared["left_out"]],
    }


def _overview(data: Mapping[str, Any], compared: Mapping[str, Any], metrics: Sequence[MetricFacts]) -> str:
    named = {f"{facts.title}, {facts.unit}" if facts.unit else facts.title: facts for facts in metrics}
    saved = {f"fewer bits by {facts.title}, %": f"bits_saved_{facts.name}" for facts in metrics}
    columns = {
        "bpp": ("bpp", "{:.3f}"),
        **{heading: (facts.name, f"{{:.{facts.digits}f}}") for heading, facts in named.items()},
        "ratio": ("compression_ratio", "{:.1f}"),
        **{heading: (key, "{:+.1f}") for heading, key in saved.items()},
        "cost J": ("rd_cost", "{:.3f}"),
        **{f"{name}, ms": (f"{name}_ms", "{:.0f}") for name in ("encode", "decode")},
        **{f"{name}, MP/s": (f"{name}_mps", "{:.2f}") for name in ("encode", "decode")},
    }
    lmbdas = [data["runs"][row["run"]]["lmbda"] for row in compared["overview"]]
    rows = [{**row, "kind": KIND_TITLES[data["runs"][row["run"]]["kind"]]} for row in compared["overview"]]
    columns = {"trained for": ("kind", "{}"), **columns}
    return _table(data, rows, columns, list(saved), [], ("cost J", lmbdas))


def _regions(data: Mapping[str, Any], compared: Mapping[str, Any], metrics: Sequence[MetricFacts]) -> str:
    given = [row["with_boxes"] or {} for row in compared["overview"]]
    rows = [
        {**row, **{f"boxes_{key}": value for key, value in own.items()}}
        for row, own in zip(compared["overview"], given, strict=True)
    ]
    columns = {
        f"{facts.title} {part[1:]}": (facts.name + part, f"{{:.{facts.digits}f}}")
        for facts in metrics
        for part in (INSIDE, OUTSIDE)
    }
    columns |= {
        "boxes given: gain inside": ("boxes_gain_inside", "{:+.2f}"),
        "loss outside": ("boxes_loss_outside", "{:.2f}"),
        "size, fraction of the same file": ("boxes_bytes_ratio", "{:.1%}"),
    }
    return _table(data, rows, columns, ["boxes given: gain inside"], [])


def _bd_rates(
    data: Mapping[str, Any], tested: Mapping[str, Any], titles: Mapping[str, str], metrics: Sequence[MetricFacts]
) -> str:
    chosen = [facts for facts in metrics if facts.rate_distortion]
    rows = [
        {
            "label": titles[name],
            **{facts.name: found["by"][facts.name]["percent"] for facts in chosen},
            "overlap": min((found["by"][facts.name]["overlap"] for facts in chosen), default=None),
            "warnings": "; ".join(_warnings(found, chosen)),
        }
        for name, found in tested.items()
    ]
    by = {f"by {facts.title}, %": (facts.name, "{:+.1f}") for facts in chosen}
    return _table(data, rows, {**by, "common range": ("overlap", "{:.0%}"), " ": ("warnings", "{}")}, [], list(by))


def _warnings(found: Mapping[str, Any], metrics: Sequence[MetricFacts]) -> list[str]:
    """Why the BD-rates of two curves say little, or are none."""
    unlike = [found["unlike"]] if found["unlike"] else []
    return unlike + [f"{facts.title}: {w}" for facts in metrics if (w := found["by"][facts.name]["warning"])]


def _table(
    data: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, tuple[str, str]],
    high: Sequence[str],
    low: Sequence[str],
    grouped: tuple[str, Sequence[str]] | None = None,
) -> str:
    """A table in HTML. The best of the columns `high` and `low` is marked.

    columns: key of the rows and format by heading; `{}` is the format of text.

    grouped: a column whose lowest value is marked in each of the groups that follow, one a row.
    """
    import pandas as pd

    frame = pd.DataFrame({heading: [row.get(key) for row in rows] for heading, (key, _) in columns.items()})
    frame = frame.astype({heading: float for heading, (_, form) in columns.items() if form != "{}"})
    frame.insert(0, "", [row.get("label") or data["runs"][row["run"]]["label"] for row in rows])
    if grouped is not None:
        frame.insert(list(frame).index(grouped[0]), "lmbda", list(grouped[1]))
    style = frame.style.hide(axis="index").format_index(escape="html", axis=1)
    style = style.format(
        {heading: form.format for heading, (_, form) in columns.items()}, na_rep=NO_FIGURE, escape="html"
    )
    if len(frame) > 1:
        style = style.highlight_max(subset=list(high), props=BEST).highlight_min(subset=list(low), props=BEST)
    if grouped is not None:
        groups = frame.groupby("lmbda")[grouped[0]]
        best = (frame[grouped[0]] == groups.transform("min")) & (groups.transform("size") > 1)
        style = style.apply(lambda _: [BEST if own else "" for own in best], subset=[grouped[0]])
    return str(style.to_html())


def curve_chart(compared: Mapping[str, Any], series: Sequence[str], metrics: Sequence[MetricFacts]) -> "Figure":
    """A panel for each metric over the rate; one entry of the legend shows and hides a codec in all of them."""
    curves = [*((curve, _look(series.index(curve["name"]))) for curve in compared["curves"])]
    for index, curve in enumerate(compared["references"]):
        colour, dash = GREYS[index % len(GREYS)]
        look = {"line": {"color": colour, "dash": dash, "width": 1.4}, "marker": {"size": 5, "color": colour}}
        curves.append((curve, look | {"visible": "legendonly" if curve["sort"] == PUBLISHED else True}))
    figure, places = _panels([title_of(facts) for facts in metrics], stacked=len(curves) > MOST_SIDE_BY_SIDE)
    for facts, place in zip(metrics, places, strict=True):
        for curve, look in curves:
            points = [point for point in curve["points"] if point.get(facts.curve) is not None]
            told = [_told(point, metrics) for point in points]
            figure.add_scatter(
                x=[point["bpp"] for point in points], y=[point[facts.curve] for point in points], mode="lines+markers",
                name=curve["title"], text=told, hovertemplate=f"<b>{curve['title']}</b><br>%{{text}}<extra></extra>",
                legendgroup=curve["name"], showlegend=facts is metrics[0], **look, **place,
            )  # fmt: skip
    figure.update_xaxes(title="bits per pixel", rangemode="tozero")
    return figure


def box_chart(spread: Sequence[Mapping[str, Any]], metrics: Sequence[MetricFacts]) -> "Figure":
    """Boxes hold the middle half of the pictures, whiskers reach to the last one within 1.5 box lengths."""
    panels = [(facts.title, [entry["values"].get(facts.name, []) for entry in spread]) for facts in metrics]
    panels.append((RATIO, [entry["compression_ratio"] for entry in spread]))
    figure, places = _panels([title for title, _ in panels], height=90 + ROW * len(spread), one_scale=True)
    for (_, values), place in zip(panels, places, strict=True):
        for entry, own in zip(spread, values, strict=True):
            look = {"line": {"color": _colour(entry)}, "legendgroup": entry["label"], "showlegend": False}
            figure.add_box(x=own, name=entry["label"], orientation="h", hovertext=entry["pictures"], **look, **place)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def scatter_chart(spread: Sequence[Mapping[str, Any]], metrics: Sequence[MetricFacts]) -> "Figure":
    """A metric over the compression ratio, picture by picture; ellipses are one standard deviation about the mean."""
    figure, places = _panels([facts.title for facts in metrics], height=PANEL + 60)
    for facts, place in zip(metrics, places, strict=True):
        for entry in spread:
            colour, mark = _colour(entry), "circle" if entry["series"] is None else style(entry["series"]).mark
            common = {"name": entry["label"], "legendgroup": entry["label"], **place}
            figure.add_scatter(
                x=entry["compression_ratio"], y=entry["values"].get(facts.name, []), mode="markers", text=entry["pictures"],
                marker={"color": colour, "symbol": mark, "size": 7, "opacity": 0.7}, showlegend=facts is metrics[0],
                hovertemplate=f"<b>{entry['label']}</b><br>%{{text}}: %{{x:.1f}} : 1, %{{y}}<extra></extra>", **common,
            )  # fmt: skip
            outline = entry["ellipses"].get(facts.name)
            if outline:
                xs, ys = zip(*outline, strict=True)
                figure.add_scatter(
                    x=xs, y=ys, mode="lines", line={"color": colour}, hoverinfo="skip", showlegend=False, **common
                )
    figure.update_xaxes(title=RATIO)
    return figure


def _panels(
    titles: Sequence[str], height: int = PANEL, stacked: bool = False, one_scale: bool = False
) -> tuple["Figure", list[dict[str, int]]]:
    """A figure with a panel for each title, and where each one is. one_scale: rows are named left of the first alone."""
    from plotly.subplots import make_subplots

    rows, columns = (len(titles), 1) if stacked else (1, len(titles))
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=titles, shared_yaxes=one_scale)
    margin = {"l": 50, "r": 10, "t": 34, "b": 50}
    figure.update_layout(template="plotly_white", height=height * rows, margin=margin, font={"size": 12})
    return figure, [{"row": i + 1, "col": 1} if stacked else {"row": 1, "col": i + 1} for i in range(len(titles))]


def _look(index: int) -> dict[str, Any]:
    own = style(index)
    line = {"color": own.colour, "dash": "dash" if own.dashed else "solid", "width": 2.4}
    return {"line": line, "marker": {"symbol": own.mark, "size": 9, "color": own.colour}}


def _colour(entry: Mapping[str, Any]) -> str:
    return JPEG_COLOUR if entry["series"] is None else style(entry["series"]).colour


def _told(point: Mapping[str, Any], metrics: Sequence[MetricFacts]) -> str:
    told = [f"{facts.title} {facts.show(point.get(facts.name))}" for facts in metrics]
    run = [f"run {point['run']}"] if point.get("run") else []
    return "<br>".join([point["setting"], f"{point['bpp']:.3f} bpp, {', '.join(told)}", *run])


def _all_metrics(data: Mapping[str, Any]) -> list[MetricFacts]:
    return list({facts.name: facts for compared in data["sets"].values() for facts in facts_in(compared)}.values())


def _packed(value: Any) -> str:
    """JSON for a script element, which a closing tag inside the data would end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def _add(images: dict[str, str], folder: Path, views: Iterable[str]) -> dict[str, str]:
    """Add the views of a picture to `images`, which holds each once as a data: address; returns their keys."""
    keys = {}
    for view in views:
        path = folder / f"{view}.webp"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BalleLiError(f"{path} cannot be read ({error.strerror})") from None
        keys[view] = hashlib.sha256(content).hexdigest()[:16]
        images[keys[view]] = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return keys
