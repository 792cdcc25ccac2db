"""What is shown as PNG: rate–distortion curves, and a page of pictures."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.boxes import Box, from_records
from balle_li.comparison.curves import RdCurve
from balle_li.comparison.references import PUBLISHED
from balle_li.evaluation.measurements import EXAMPLES
from balle_li.evaluation.metrics import INSIDE, MetricFacts, facts_in
from balle_li.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RD_PLOT, PICTURE_PAGE = "rd_curve.png", "pictures.png"
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#882255", "#332288", "#999933", "#7f4f24",
)  # fmt: skip
"""Told apart by colour-blind readers too: Okabe & Ito (2008), then some of Paul Tol's."""
MARKS = ("circle", "square", "triangle-up", "diamond", "x")
"""Plotly's names."""
_MATPLOTLIB = dict(zip(MARKS, ("o", "s", "^", "D", "X"), strict=True))
INK, FAINT, BOX_COLOUR = "#222222", "#D8D8D8", "#FFB000"
REFERENCE_STYLES = (("#555555", "-"), ("#888888", "--"), ("#555555", ":"), ("#888888", "-."))
"""Repeated with other markers when there are more curves than these."""
REFERENCE_MARKERS = ("o", "^", "x", "s", "D")
NOTE_COLUMNS, LEGEND_COLUMNS = 135, 32
"""Characters of a line of the notes and of the legend."""
PANEL_INCHES, LEGEND_INCHES = 5.25, 2.6

COLUMN_INCHES, TALLEST_INCHES = 3.2, 3.0
SMALLEST_NAMED_BOX = 0.01
"""Fraction of the picture below which a box is drawn without its label."""
HEADINGS = {
    "original": "Original", "model": "Model", "jpeg": "JPEG of the nearest size", "bits": "Bits", "importance": "Importance",
}  # fmt: skip

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Style:
    """One model's look. `dashed`: its line, from the second turn of the colours on."""

    colour: str
    mark: str
    dashed: bool


def style(index: int) -> Style:
    """The look of the index-th model; the first fifty differ, and of the first ten each has a colour of its own."""
    turn, place = divmod(index, len(COLOURS))
    return Style(COLOURS[place], MARKS[(place + turn) % len(MARKS)], turn % 2 == 1)


def draw_curves(compared: Mapping[str, Any], path: Path) -> None:
    """Write the rate–distortion curves of one set of a comparison as PNG; published ones as far as rates were measured."""
    metrics, count = facts_in(compared), compared["pictures"]
    headline = f"Rate–distortion, mean of {count} picture{'s' if count != 1 else ''}"
    titles = {curve["name"]: curve["title"] for curve in (*compared["curves"], *compared["references"])}
    models = [RdCurve.of(curve["name"], curve["points"]) for curve in compared["curves"]]
    measured = [RdCurve.of(one["name"], one["points"]) for one in compared["references"] if one["sort"] != PUBLISHED]
    highest = max(curve.points["bpp"].max() for curve in (*models, *measured))
    published = [
        RdCurve.of(one["name"], points)
        for one in compared["references"]
        if one["sort"] == PUBLISHED and (points := [point for point in one["points"] if point["bpp"] <= highest])
    ]
    notes = [*compared["verdict"], *_bd_notes(compared, metrics)]
    plot_rd(models, [*measured, *published], titles, metrics, headline, notes, path)


def plot_rd(
    models: Sequence[RdCurve],
    references: Sequence[RdCurve],
    titles: Mapping[str, str],
    metrics: Sequence[MetricFacts],
    headline: str,
    notes: Sequence[str],
    path: Path,
) -> None:
    """Write a PNG with a panel for each metric over the rate, models in colour, what they are held against in grey.

    titles: names codecs in the legend. Models of one rate are single points. notes: sentences under the panels.
    """

    def draw() -> "Figure":
        from matplotlib.figure import Figure

        lines = [line for note in notes for line in textwrap.wrap(note, NOTE_COLUMNS)]
        labels = [titles.get(curve.codec, curve.codec) for curve in (*references, *models)]
        height = max(4.75, 0.21 * sum(_wrapped(label).count("\n") + 1 for label in labels) + 1.2)
        size = PANEL_INCHES * max(2, len(metrics)) + LEGEND_INCHES, height + 0.22 * len(lines)
        figure = Figure(size, facecolor="white", layout="constrained")
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axis, facts in zip(axes, metrics, strict=True):
            for index, curve in enumerate(references):
                turn, place = divmod(index, len(REFERENCE_STYLES))
                colour, line = REFERENCE_STYLES[place]
                marker = REFERENCE_MARKERS[turn % len(REFERENCE_MARKERS)]
                look = {"color": colour, "linestyle": line, "linewidth": 1.3, "marker": marker, "markersize": 3.6}
                _line(axis, curve, facts.curve, titles, look)
            for index, curve in enumerate(models):
                own = style(index)
                look = {"color": own.colour, "linestyle": "--" if own.dashed else "-", "linewidth": 2.0}
                look |= {"marker": _MATPLOTLIB[own.mark], "markersize": 7.0, "zorder": 3}
                _line(axis, curve, facts.curve, titles, look)
            axis.set_xlabel("bits per pixel")
            axis.set_title(title_of(facts), loc="left", fontsize=10)
            axis.set_xlim(left=0)
            axis.grid(True, color=FAINT, linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, frameon=False, fontsize=9)
        figure.suptitle(headline, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9.5, color="#444444")
        return figure

    _save(draw, path)


def title_of(facts: MetricFacts) -> str:
    """What stands at the axis of a curve: `MS-SSIM (dB)`."""
    unit = f"{facts.title} ({facts.curve_unit})" if facts.curve_unit else facts.title
    return unit if facts.higher_is_better else f"{unit}, lower is better"


def _bd_notes(compared: Mapping[str, Any], metrics: Sequence[MetricFacts]) -> list[str]:
    """A sentence for each metric: the BD-rates of the models against JPEG."""
    against, notes = compared["bd_rate"].get("jpeg", {}), []
    for facts in (facts for facts in metrics if facts.rate_distortion):
        told = []
        for curve in (curve for curve in compared["curves"] if curve["name"] in against):
            found = against[curve["name"]]["by"][facts.name]
            if found["percent"] is not None:
                warning = f" ({found['warning']})" if found["warning"] else ""
                told.append(f"{curve['title']} {found['percent']:+.1f} %{warning}")
        notes += [f"BD-rate against JPEG by {facts.title}: {'; '.join(told)}."] if told else []
    return notes


def _line(axis: "Axes", curve: RdCurve, column: str, titles: Mapping[str, str], look: Mapping[str, Any]) -> None:
    values = curve.values(column)
    lone = {"linestyle": "none"} if len(values) < 2 else {}
    bpp, quality = [rate for rate, _ in values], [value for _, value in values]
    axis.plot(bpp, quality, label=_wrapped(titles.get(curve.codec, curve.codec)), **{**look, **lone})


def draw_page(examples: Sequence[Entry], metrics: Sequence[MetricFacts], title: str, folder: Path, path: Path) -> None:
    """Write a PNG with a row for each of the examples that are meant for it: the original with its boxes, the model's
    picture, JPEG of the same size, and where the bits went.

    examples: entries of examples.json, whose pictures lie below `folder`.
    """
    from matplotlib.image import imread

    chosen = [entry for entry in examples if entry["on_page"]]
    views = [view for view in HEADINGS if any(view in entry["views"] for entry in chosen)]

    def draw() -> "Figure":
        from matplotlib.figure import Figure

        tallest = [min(COLUMN_INCHES * entry["height"] / entry["width"], TALLEST_INCHES) for entry in chosen]
        height = sum(tallest) + 0.5 * len(chosen) + 0.9
        figure = Figure((COLUMN_INCHES * max(2, len(views)), height), facecolor="white", layout="constrained")
        figure.suptitle(
            f"{title}: from the largest to the smallest gain in {metrics[0].title} over JPEG", x=0.01, ha="left"
        )
        if not chosen:
            return figure
        axes = figure.subplots(len(chosen), len(views), squeeze=False, height_ratios=tallest)
        for row, entry in zip(axes, chosen, strict=True):
            for axis, view in zip(row, views, strict=True):
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if view in entry["views"]:
                    picture = imread(folder / EXAMPLES / entry["image_id"] / f"{view}.webp")
                    axis.imshow(picture, extent=(0, 1, 1, 0), aspect=entry["height"] / entry["width"])
                    axis.set_xlabel(_caption(entry, view, metrics), loc="left", fontsize=8)
            _draw_boxes(row[views.index("original")], from_records(entry["boxes"]))
        for axis, view in zip(axes[0], views, strict=True):
            axis.set_title(HEADINGS[view], loc="left", color="#777777")
        return figure

    _save(draw, path, dpi=120)


def _draw_boxes(axis: "Axes", boxes: Sequence[Box]) -> None:
    from matplotlib.patches import Rectangle

    for box in sorted(boxes, key=lambda box: box.area, reverse=True):
        corner, size = (box.xmin, box.ymin), (box.xmax - box.xmin, box.ymax - box.ymin)
        axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BOX_COLOUR, linewidth=1.2))
        if box.area >= SMALLEST_NAMED_BOX:
            label = {"facecolor": BOX_COLOUR, "edgecolor": "none", "pad": 1.5}
            axis.text(*corner, box.label, fontsize=6, va="top", bbox=label, clip_on=True)


def _caption(entry: Entry, view: str, metrics: Sequence[MetricFacts]) -> str:
    """The two lines below a picture."""
    if view == "original":
        columns, rows = entry["whole"]
        cut = "" if (entry["width"], entry["height"]) == (columns, rows) else ", cut"
        return f"{entry['image_id'][:LEGEND_COLUMNS]}\n{columns} × {rows}{cut}, source file {entry['source_bytes'] / 1e3:.0f} kB"
    if view == "bits":
        return f"0 – {entry['most_bpp']:.2f} bits per pixel\ndark: few, bright: many"
    if view == "importance":
        return "0 – 1\ndark: little, bright: much"
    values = entry[view]
    known = [facts for facts in metrics if values.get(facts.name) is not None]
    told = [f"{'' if facts.unit else facts.title} {facts.show(values[facts.name])}".strip() for facts in known]
    regional = [facts for facts in known if facts.regions and values[facts.name + INSIDE] is not None]
    inside = [f"{facts.show(values[facts.name + INSIDE])} in boxes" for facts in regional]
    last = values["setting"] if view == "jpeg" else f"ratio {values['compression_ratio']:.0f} : 1"
    return ", ".join([f"{values['bpp']:.3f} bpp", *told]) + "\n" + ", ".join([*inside, last])


def _wrapped(title: str) -> str:
    """A title in lines that fit into the legend."""
    return "\n".join(textwrap.wrap(title, LEGEND_COLUMNS))


def _save(draw: Any, path: Path, dpi: int = 160) -> None:
    from matplotlib import rc_context

    with rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.labelcolor": INK}):
        figure = draw()
        with atomic_path(path) as part:
            figure.savefig(part, dpi=dpi, format="png")
