"""The comparison's figures as PNG: rate–distortion curves, and the paper's box plots and scatter with ellipses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.evaluation.curves import RdCurve, RdPoint
from balle_li.evaluation.rd_plot import FAINT, INK, MARKERS, legend_label, plot_rd
from balle_li.evaluation.styles import style
from balle_li.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = ("rd_curve.png", "box_plots.png", "scatter.png")
JPEG_COLOUR = "#777777"

Spread = Sequence[Mapping[str, Any]]


def draw_plots(compared: Mapping[str, Any], folder: Path) -> None:
    """Write PLOTS of one set of a comparison to `folder`."""
    from matplotlib import rc_context

    pictures = f"mean over {compared['pictures']} test pictures"
    titles = {curve["name"]: curve["title"] for curve in (*compared["curves"], *compared["classical"])}
    models, classical = ([_curve(curve) for curve in compared[key]] for key in ("curves", "classical"))
    plot_rd(models, classical, titles, f"Rate–distortion, {pictures}", _bd_notes(compared, titles), folder / PLOTS[0])
    with rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.labelcolor": INK}):
        for name, draw in zip(PLOTS[1:], (_box_plots, _scatter), strict=True):
            _save(draw(compared["spread"]), folder / name)


def _colour(entry: Mapping[str, Any]) -> str:
    return JPEG_COLOUR if entry["series"] is None else style(entry["series"]).colour


def _bd_notes(compared: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    against = compared["bd_rate"].get("jpeg", {})
    figures = []
    for curve in compared["curves"]:
        found = against.get(curve["name"], {}).get("ms_ssim", {}).get("percent")
        if found is not None:
            figures.append(f"{titles[curve['name']]} {found:+.1f} %")
    return [f"BD-rate against JPEG by MS-SSIM: {'; '.join(figures)}."] if figures else []


def _box_plots(spread: Spread) -> "Figure":
    figure, axes = _figure(2, max(3.0, 0.42 * len(spread) + 1.4))
    panels = (("ms_ssim", "MS-SSIM"), ("compression_ratio", "compression ratio (source file / stream)"))
    for axis, (key, title) in zip(axes, panels, strict=True):
        shown = [entry for entry in spread if entry[key]]
        for row, entry in enumerate(shown):
            box, colour = entry[key], _colour(entry)
            stats = {"whislo": box["low"], "q1": box["first"], "med": box["median"], "q3": box["third"]}
            stats |= {"whishi": box["high"], "fliers": box["outliers"], "label": entry["label"]}
            line = {"color": colour}
            axis.bxp(
                [stats], [row], orientation="horizontal", widths=0.55, boxprops=line, whiskerprops=line,
                capprops=line, medianprops={"color": INK}, flierprops={"markeredgecolor": colour, "markersize": 4},
            )  # fmt: skip
        same = axis is not axes[0] and all(entry["ms_ssim"] for entry in spread)  # rows as those of the first panel
        axis.set_yticks(range(len(shown)), ["" if same else entry["label"] for entry in shown])
        axis.set_ylim(len(shown) - 0.4, -0.6)
        axis.set_title(title, loc="left", fontsize=10)
    return figure


def _scatter(spread: Spread) -> "Figure":
    lines = sum(legend_label(entry["label"]).count("\n") + 1 for entry in spread)
    figure, (axis,) = _figure(1, max(5.6, 0.2 * lines + 1.2))
    for entry in spread:
        if not entry["points"]:
            continue
        colour = _colour(entry)
        ratios, similarities = zip(*entry["points"], strict=True)
        marker = "o" if entry["series"] is None else MARKERS[style(entry["series"]).mark]
        label = legend_label(entry["label"])
        axis.plot(ratios, similarities, marker, color=colour, markersize=4.5, alpha=0.7, label=label)
        if entry["ellipse"]:
            axis.plot(*zip(*entry["ellipse"], strict=True), color=colour, linewidth=1.4)
    axis.set_xlabel("compression ratio (source file / stream)")
    axis.set_ylabel("MS-SSIM")
    if any(entry["points"] for entry in spread):
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, fontsize=9)
    return figure


def _figure(panels: int, height: float) -> tuple["Figure", Sequence["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, height), facecolor="white", layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axis in axes:
        axis.grid(True, color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    with atomic_path(path) as part:
        figure.savefig(part, dpi=160, format="png")


def _curve(curve: Mapping[str, Any]) -> RdCurve:
    points = [RdPoint(**{key: value for key, value in point.items() if key != "run"}) for point in curve["points"]]
    return RdCurve(curve["name"], tuple(points))
