"""What curation did, in figures (`report.json`) and on one page (`report.png`)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.config import SPLITS
from balle_li.data import REASONS
from balle_li.data.manifest import DroppedRow, IndexRow, ManifestRow
from balle_li.files import atomic_path, write_json

if TYPE_CHECKING:
    import pandas as pd

SIDE_EDGES = (0, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)  # pixels; the last bin has no upper end
AREA_EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # fractions of the picture; the last bin ends at 1
CLASSES_SHOWN = 20

BOX_TITLES = {
    "picture_dropped": "their picture went",
    "too_small": "smaller than\nmin_box_area",
    "other_class": "not of classes",
    "group_of": "around a group",
    "depiction": "of a depiction",
}
"""BOX_REASONS in words."""

KEPT, DROPPED = "#2a6f97", "#c1666b"
SPLIT_COLOURS = {"train": "#2a6f97", "validation": "#e9a03b", "test": "#6a994e"}


def write(
    folder: Path,
    rows: Sequence[IndexRow],
    manifest: Sequence[ManifestRow],
    dropped: Sequence[DroppedRow],
    boxes_dropped: Mapping[str, int],
    own_path: Callable[[str], str],
) -> None:
    """Write `folder/report.json` and `folder/report.png`.

    boxes_dropped: boxes by why they went. own_path: what the user calls a picture, for its path in the index.
    """
    report = summary(rows, manifest, dropped, boxes_dropped, own_path)
    write_json(folder / "report.json", report)
    _draw(report, folder / "report.png")


def summary(
    rows: Sequence[IndexRow],
    manifest: Sequence[ManifestRow],
    dropped: Sequence[DroppedRow],
    boxes_dropped: Mapping[str, int],
    own_path: Callable[[str], str],
) -> dict[str, Any]:
    """Counts of pictures and boxes by reason, split, class and size; every undecodable picture by name."""
    import pandas as pd

    reasons = Counter(row["reason"] for row in dropped)
    kept = [(row["split"], min(row["width"], row["height"]), len(row["boxes"])) for row in manifest]
    pictures = pd.DataFrame(kept, columns=["split", "side", "boxes"])
    found = [(row["image_id"], box.label, box.area) for row in manifest for box in row["boxes"]]
    boxes = pd.DataFrame(found, columns=["image_id", "label", "area"])
    labels = boxes.groupby("label")["image_id"]
    members = {split: pictures[pictures["split"] == split] for split in SPLITS}
    return {
        "pictures": {"found": len(rows), "kept": len(pictures)},
        "boxes": {"found": sum(len(row["boxes"]) for row in rows), "kept": len(boxes)},
        "dropped": {reason: reasons[reason] for reason in REASONS},
        "boxes_dropped": dict(boxes_dropped),
        "undecodable": {own_path(row["path"]): row["detail"] for row in dropped if row["reason"] == "undecodable"},
        "splits": {split: {"pictures": len(own), "boxes": int(own["boxes"].sum())} for split, own in members.items()},
        "classes": pd.DataFrame({"pictures": labels.nunique(), "boxes": labels.size()}).to_dict("index"),
        "shorter_side": {"edges": SIDE_EDGES, **{split: _bins(members[split]["side"], SIDE_EDGES) for split in SPLITS}},
        "box_area": {"edges": AREA_EDGES, "boxes": _bins(boxes["area"], AREA_EDGES)},
    }


def _bins(values: "pd.Series[Any]", edges: Sequence[float]) -> list[int]:
    """How many values each bin holds; a bin has its lower edge, the last one has no upper edge."""
    import pandas as pd

    bins = pd.cut(values, [*edges, float("inf")], right=False, labels=False)
    return bins.value_counts().reindex(range(len(edges)), fill_value=0).tolist()


def _draw(report: dict[str, Any], path: Path) -> None:
    # The figure is made without pyplot, which would look for a display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(16, 8.5), dpi=100, layout="constrained")
    panels = figure.subplot_mosaic([["reasons", "boxes", "classes"], ["sides", "areas", "classes"]])
    reasons, lost, classes, sides, areas = (panels[name] for name in ("reasons", "boxes", "classes", "sides", "areas"))
    pictures, boxes = report["pictures"], report["boxes"]
    figure.suptitle(
        f"{pictures['kept']:,} of {pictures['found']:,} pictures kept, with {boxes['kept']:,} of {boxes['found']:,} boxes"
    )
    _draw_reasons(reasons, report)
    _draw_boxes(lost, report)
    _draw_classes(classes, report["classes"])
    _draw_sides(sides, report["shorter_side"])
    _draw_areas(areas, report["box_area"])
    for axes in panels.values():
        axes.spines[["top", "right"]].set_visible(False)
    for axis in (reasons.xaxis, lost.xaxis, classes.xaxis, sides.yaxis, areas.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    with atomic_path(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def _draw_reasons(axes: Any, report: dict[str, Any]) -> None:
    names = [*SPLITS, *REASONS]
    counts = [report["splits"][split]["pictures"] for split in SPLITS] + [report["dropped"][name] for name in REASONS]
    colours = [KEPT] * len(SPLITS) + [DROPPED] * len(REASONS)
    bars = axes.barh([name.replace("_", " ") for name in names], counts, color=colours)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="Kept by split (blue), dropped by reason (red)", xlabel="pictures")


def _draw_boxes(axes: Any, report: dict[str, Any]) -> None:
    names, counts = ["kept", *BOX_TITLES.values()], [report["boxes_dropped"].get(name, 0) for name in BOX_TITLES]
    bars = axes.barh(names, [report["boxes"]["kept"], *counts], color=[KEPT] + [DROPPED] * len(counts))
    axes.bar_label(bars, [f"{count:,}" for count in (report["boxes"]["kept"], *counts)], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="Boxes kept (blue), dropped because (red)", xlabel="boxes")


def _draw_classes(axes: Any, classes: dict[str, dict[str, int]]) -> None:
    shown = sorted(classes, key=lambda label: (-classes[label]["boxes"], label))[:CLASSES_SHOWN]
    more = len(classes) - len(shown)
    axes.set_title(f"Boxes of the {len(shown)} most frequent of {len(classes)} classes" if more else "Boxes by class")
    if not shown:
        axes.text(0.5, 0.5, "no boxes", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    bars = axes.barh(shown, [classes[label]["boxes"] for label in shown], color=KEPT)
    axes.bar_label(bars, [f"in {classes[label]['pictures']:,}" for label in shown], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("boxes (in so many pictures)")


def _draw_sides(axes: Any, sides: dict[str, list[int]]) -> None:
    names = _bin_names([f"{edge}" for edge in sides["edges"]], last="{} or more")
    bottom = [0] * len(names)
    for split in SPLITS:
        axes.bar(names, sides[split], bottom=bottom, color=SPLIT_COLOURS[split], label=split)
        bottom = [low + count for low, count in zip(bottom, sides[split], strict=True)]
    axes.legend(frameon=False)
    axes.tick_params(axis="x", rotation=30)
    axes.set(title="Kept pictures by shorter side", xlabel="pixels", ylabel="pictures")


def _draw_areas(axes: Any, areas: dict[str, list[int]]) -> None:
    names = _bin_names([f"{100 * edge:g}" for edge in areas["edges"]], last="{}–100")
    bars = axes.bar(names, areas["boxes"], color=KEPT)
    axes.bar_label(bars, [f"{count:,}" for count in areas["boxes"]], padding=2, fontsize=8)
    axes.set(title="Kept boxes by area", xlabel="% of the picture", ylabel="boxes")


def _bin_names(edges: Sequence[str], last: str) -> list[str]:
    return [f"{low}–{high}" for low, high in pairwise(edges)] + [last.format(edges[-1])]
