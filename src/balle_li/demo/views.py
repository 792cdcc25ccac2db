"""What the page shows of an answer: the pictures under their dividers, the overlays, the table, the rate–distortion strip."""

import base64
import io
import threading
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from balle_li.comparison.plots import style
from balle_li.demo.trials import Compressed, Figures, Pixels, Point, Sample, bits_per_pixel
from balle_li.quality_map import LIMIT, STEPS

_INK = "#222222"  # becomes the page's own text colour, light or dark
_drawing = threading.Lock()  # Matplotlib's settings are those of the whole process
_PENDING = "…"
_EXACT = 100.0  # dB, and more: no error is left
_THUMBNAIL = 128  # pixels


def line(text: str, failed: bool = False) -> str:
    """One line on the page; a failure stands out."""
    kind = "failed" if failed else "note"
    return f'<p class="line {kind}" role="{"alert" if failed else "status"}">{escape(text)}</p>' if text else ""


def thumbnails(samples: Mapping[str, Sample]) -> str:
    """A button for every photograph of the sample."""
    buttons = []
    for name, one in samples.items():
        with Image.open(one.path) as image:
            small = ImageOps.fit(image.convert("RGB"), (_THUMBNAIL, _THUMBNAIL))
        title = escape(one.title, quote=True)
        picture = f'<img src="{_png(small)}" alt="{title}">'
        buttons.append(f'<button type="button" data-name="{name}" title="{title}">{picture}</button>')
    return f'<p>Or take one of these</p><div class="thumbnails">{"".join(buttons)}</div>'


def kilobytes(size: int) -> str:
    """Bytes as people read them, such as 40.3 kB."""
    return f"{size / 1000:.1f} kB"


def overlays(compressed: Compressed, cell: int) -> list[dict[str, Any]]:
    """Maps to lay over the picture, each a small PNG of a pixel for every `cell` × `cell` pixels, with its scale of colours."""
    levels = compressed.levels / STEPS
    reach = LIMIT / STEPS
    maps = [_overlay("Quality map", levels, (-reach, reach), "coolwarm", ("r = −2: coarser", "finer: r = 2"), cell)]
    if compressed.bits is not None:
        most = float(compressed.bits.max())
        ends = "0", f"{most:.0f} bits for {cell} × {cell} pixels"
        maps.insert(0, _overlay("Bits", compressed.bits, (0.0, most), "inferno", ends, cell))
    return maps


def _overlay(
    title: str,
    values: NDArray[np.floating[Any]],
    span: tuple[float, float],
    colours: str,
    ends: tuple[str, str],
    cell: int,
) -> dict[str, Any]:
    from matplotlib import colormaps

    low, high = span
    painted = colormaps[colours]((values - low) / max(high - low, 1e-9), bytes=True)[..., :3]
    ramp = [
        "#{:02x}{:02x}{:02x}".format(*colour[:3]) for colour in colormaps[colours](np.linspace(0, 1, 7), bytes=True)
    ]
    url = _png(Image.fromarray(np.ascontiguousarray(painted)))
    height, width = values.shape
    return {"title": title, "url": url, "width": width * cell, "height": height * cell, "ramp": ramp, "ends": ends}


def _png(image: Image.Image) -> str:
    """The picture as a data URL."""
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=None)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def table(rows: Sequence[tuple[str, int, Figures | None]], pixels: Pixels, has_original: bool, has_boxes: bool) -> str:
    """The figures of each file, a row of (title, bytes, figures); figures that are still computed are None."""
    heads = ["", "size", "bits per pixel"] + ["PSNR", "MS-SSIM"] * has_original
    heads += ["PSNR inside boxes", "outside"] * has_boxes
    lines = []
    for title, size, found in rows:
        cells = [title, kilobytes(size), f"{bits_per_pixel(pixels, size):.3f}"]
        cells += _cells(found, has_boxes) if has_original else []
        first, *others = (escape(cell) for cell in cells)
        lines.append(f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>")
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _cells(found: Figures | None, has_boxes: bool) -> list[str]:
    if found is None:
        return [_PENDING] * (4 if has_boxes else 2)
    similarity = "–" if found.ms_ssim is None else f"{found.ms_ssim:.4f}"
    regions = (_decibels(found.inside), _decibels(found.outside)) if has_boxes else ()
    return [_decibels(found.psnr), similarity, *regions]


def _decibels(value: float | None) -> str:
    return "–" if value is None else "exact" if value >= _EXACT else f"{value:.2f} dB"


def strip(plot: str, done: int, of: int, doing: str) -> str:
    """The strip: what `plot` has drawn so far, and how far it is. done, of: points; doing: the codec at work."""
    state = "<span>This photograph alone, through real files, without boxes</span>"
    if done < of:
        bar = f'<i style="width:{100 * done // of}%"></i>'
        state = f'<div role="progressbar" aria-valuemax="{of}" aria-valuenow="{done}">{bar}</div>'
        state += f"<span>{escape(doing)}: point {done + 1} of {of}</span>"
    return f'<div class="strip"><div class="state">{state}</div>{plot}</div>'


def plot(curves: Mapping[str, Sequence[Point]]) -> str:
    """Rate–distortion curves by title, the first one's standing out, as an SVG element in the page's text colour."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with (
        _drawing,
        rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5, "text.color": _INK}),
    ):
        figure = Figure(figsize=(9.6, 3.1), layout="constrained")
        figure.patch.set_alpha(0)
        panels = figure.subplots(1, 2)
        for axis, label in zip(panels, ("PSNR (dB)", "MS-SSIM (dB)"), strict=True):
            axis.set_title(label, loc="left", fontsize=10)
            axis.set_xlabel("bits per pixel", color=_INK)
            axis.grid(True, color="#8888884d", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(colors=_INK, width=0.6)
            axis.patch.set_alpha(0)
        for place, (title, points) in enumerate(curves.items()):
            look = style(place)
            drawn = {"color": look.colour, "linewidth": 2.4 if place == 0 else 1.5, "marker": "o", "markersize": 3.5}
            for axis, name in zip(panels, ("psnr", "ms_ssim_db"), strict=True):
                found = [(p.bpp, getattr(p, name)) for p in points if getattr(p, name) is not None]
                axis.plot([x for x, _ in found], [y for _, y in found], label=title, zorder=3 - place / 10, **drawn)
        # The model's curve sets the span: far beyond it there is nothing to compare.
        widest = 1.5 * max(p.bpp for p in next(iter(curves.values())))
        for axis in panels:
            shown = [y for drawn in axis.lines for x, y in drawn.get_xydata() if x <= widest]
            axis.set_xlim(0, widest)
            if shown:
                axis.set_ylim(min(shown) - 0.5, max(shown) + 1)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg")
    drawing = file.getvalue()
    return drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
