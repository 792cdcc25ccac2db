"""The rate–distortion plot: PSNR and MS-SSIM over the rate, models in colour, classical codecs in grey."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.evaluation.curves import Metric, RdCurve
from balle_li.evaluation.styles import style
from balle_li.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "cross": "X"}
"""Matplotlib's letters for `styles.MARKS`."""
CLASSICAL_STYLES = (("#555555", "-"), ("#888888", "--"), ("#555555", ":"), ("#888888", "-."))
"""Repeated with other markers when there are more codecs than these."""
CLASSICAL_MARKERS = ("o", "^", "x")
INK, FAINT = "#222222", "#D8D8D8"
NOTE_COLUMNS = 135
LEGEND_INCHES = 2.6
LEGEND_COLUMNS = 32
"""Characters of a line of the legend."""

PANELS: tuple[tuple[Metric, str], ...] = (("psnr", "PSNR (dB)"), ("ms_ssim_db", "MS-SSIM (dB)"))


def plot_rd(
    models: Sequence[RdCurve],
    classical: Sequence[RdCurve],
    titles: Mapping[str, str],
    headline: str,
    notes: Sequence[str],
    path: Path,
) -> None:
    """Write a PNG with one panel for PSNR and one for MS-SSIM; `titles` names codecs in the legend.

    Models of one rate are single points. `notes` are sentences under the panels: what the plot says in words.
    """
    from matplotlib import rc_context

    with rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.labelcolor": INK}):
        figure = _draw(models, classical, titles, headline, notes)
        with atomic_path(path) as part:
            figure.savefig(part, dpi=160, format="png")


def _draw(
    models: Sequence[RdCurve],
    classical: Sequence[RdCurve],
    titles: Mapping[str, str],
    headline: str,
    notes: Sequence[str],
) -> "Figure":
    from matplotlib.figure import Figure

    lines = [line for note in notes for line in textwrap.wrap(note, NOTE_COLUMNS)]
    note_height = 0.22 * len(lines) + 0.1
    labels = [legend_label(titles.get(curve.codec, curve.codec)) for curve in (*classical, *models)]
    height = max(4.75, 0.21 * sum(label.count("\n") + 1 for label in labels) + 1.2) + note_height
    width = 10.5 + LEGEND_INCHES
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(
        left=0.68 / width, right=10.35 / width, top=1 - 0.77 / height, bottom=(note_height + 0.6) / height, wspace=0.17
    )
    for axis, (metric, label) in zip(axes, PANELS, strict=True):
        _panel(axis, models, classical, titles, metric, label)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, frameon=False, handlelength=2.2)
    figure.suptitle(headline, x=0.68 / width, y=1 - 0.2 / height, ha="left", va="top", fontsize=12, fontweight="bold")
    for row, line in enumerate(lines):
        y = (note_height - 0.05 - 0.22 * row) / height
        figure.text(0.68 / width, y, line, ha="left", va="top", fontsize=9.5, color="#444444")
    return figure


def legend_label(title: str) -> str:
    """A title in lines that fit into the legend beside the panels."""
    return "\n".join(textwrap.wrap(title, LEGEND_COLUMNS))


def _panel(
    axis: "Axes",
    models: Sequence[RdCurve],
    classical: Sequence[RdCurve],
    titles: Mapping[str, str],
    metric: Metric,
    label: str,
) -> None:
    for index, curve in enumerate(classical):
        turn, place = divmod(index, len(CLASSICAL_STYLES))
        colour, line = CLASSICAL_STYLES[place]
        marker = CLASSICAL_MARKERS[turn % len(CLASSICAL_MARKERS)]
        _curve(axis, curve, metric, titles, color=colour, linestyle=line, linewidth=1.3, marker=marker, markersize=3.6)
    for index, curve in enumerate(models):
        look = style(index)
        _curve(
            axis,
            curve,
            metric,
            titles,
            color=look.colour,
            linestyle="--" if look.dashed else "-",
            linewidth=2.0,
            marker=MARKERS[look.mark],
            markersize=7.0,
            zorder=3,
        )
    axis.set_xlabel("bits per pixel")
    axis.set_title(label, loc="left", fontsize=10, color=INK)
    axis.set_xlim(left=0)
    axis.grid(True, color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(color=FAINT, labelcolor="#444444")
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#999999")


def _curve(
    axis: "Axes",
    curve: RdCurve,
    metric: Metric,
    titles: Mapping[str, str],
    color: str,
    linestyle: str,
    linewidth: float,
    marker: str,
    markersize: float,
    zorder: float = 2,
) -> None:
    values = curve.values(metric)
    axis.plot(
        [bpp for bpp, _ in values],
        [quality for _, quality in values],
        label=legend_label(titles.get(curve.codec, curve.codec)),
        marker=marker,
        color=color,
        linestyle=linestyle if len(values) > 1 else "none",
        linewidth=linewidth,
        markersize=markersize,
        zorder=zorder,
    )
