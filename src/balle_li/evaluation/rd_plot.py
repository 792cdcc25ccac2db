"""The rate–distortion plot: PSNR and MS-SSIM over the rate, models in colour, classical codecs in grey."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.evaluation.curves import Metric, RdCurve
from balle_li.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind readers too (Okabe & Ito 2008)."""
CLASSICAL_STYLES = (("#555555", "-"), ("#888888", "--"), ("#555555", ":"), ("#888888", "-."))
"""Repeated with other markers when there are more codecs than these."""
CLASSICAL_MARKERS = ("o", "^", "x")
INK, FAINT = "#222222", "#D8D8D8"
NOTE_COLUMNS = 135

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
    height = 4.75 + note_height
    figure = Figure(figsize=(10.5, height), facecolor="white")
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(
        left=0.065, right=0.985, top=1 - 0.77 / height, bottom=(note_height + 0.6) / height, wspace=0.17
    )
    for axis, (metric, label) in zip(axes, PANELS, strict=True):
        _panel(axis, models, classical, titles, metric, label)
    axes[0].legend(loc="best", frameon=False, handlelength=2.2)
    figure.suptitle(headline, x=0.065, y=1 - 0.2 / height, ha="left", va="top", fontsize=12, fontweight="bold")
    for row, line in enumerate(lines):
        y = (note_height - 0.05 - 0.22 * row) / height
        figure.text(0.065, y, line, ha="left", va="top", fontsize=9.5, color="#444444")
    return figure


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
        colour, style = CLASSICAL_STYLES[place]
        marker = CLASSICAL_MARKERS[turn % len(CLASSICAL_MARKERS)]
        _curve(axis, curve, metric, titles, color=colour, linestyle=style, linewidth=1.3, marker=marker, markersize=3.6)
    for index, curve in enumerate(models):
        colour = MODEL_COLOURS[index % len(MODEL_COLOURS)]
        _curve(
            axis,
            curve,
            metric,
            titles,
            color=colour,
            linestyle="-",
            linewidth=2.0,
            marker="o",
            markersize=7.5,
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
        label=titles.get(curve.codec, curve.codec),
        marker=marker,
        color=color,
        linestyle=linestyle if len(values) > 1 else "none",
        linewidth=linewidth,
        markersize=markersize,
        zorder=zorder,
    )
