"""Curves that runs are held against: classical codecs, baselines measured on the same pictures, and published figures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from balle_li.comparison.curves import RdCurve
from balle_li.comparison.runs import SetResult
from balle_li.evaluation.codecs import codec_title
from balle_li.evaluation.measurements import BASELINE, CLASSICAL
from balle_li.evaluation.metrics import to_db
from balle_li.evaluation.published import KIND_TITLES, Published, published_sets

PUBLISHED: Final = "published"


@dataclass(frozen=True)
class Reference:
    """A curve that is no run's. sort: CLASSICAL, BASELINE or PUBLISHED. kind: what a model's loss measures, one of
    KIND_TITLES; None for a classical codec."""

    curve: RdCurve
    title: str
    sort: str
    kind: str | None = None


def references(first: SetResult, results: Sequence[SetResult], kinds: Iterable[str]) -> list[Reference]:
    """Those of runs of these `kinds`, measured on the same pictures; classical codecs are taken from `first`. Of published
    models those of the same kinds."""
    return [
        *(Reference(curve, codec_title(name), CLASSICAL) for name, curve in first.classical.items()),
        *_baselines(results),
        *(one for one in published_references(first.metrics["known_as"]) if one.kind in {None, *kinds}),
    ]


def published_references(known_as: str | None) -> list[Reference]:
    """What others have published of the pictures that are known by this name; nothing where they are not known."""
    if known_as is None:
        return []
    return [_published(curve) for curve in published_sets()[known_as].curves]


def _baselines(results: Iterable[SetResult]) -> Iterator[Reference]:
    """Each once, from the run that measured most of it.

    Two models of one name, as an alias names one today and another tomorrow, are told apart by their hashes.
    """
    found: dict[tuple[str, str], tuple[RdCurve, str]] = {}
    for result in results:
        for name, curve in result.baselines.items():
            facts = result.metrics["baselines"][name]
            before = found.get((name, facts["digest"]))
            if before is None or curve.points.count().sum() > before[0].points.count().sum():
                found[name, facts["digest"]] = curve, facts["kind"]
    names = [name for name, _ in found]
    for (name, digest), (curve, kind) in found.items():
        own = name if names.count(name) == 1 else f"{name} ({digest[:6]})"
        title = f"{own}, baseline, {KIND_TITLES[kind]}"
        yield Reference(replace(curve, codec=title), title, BASELINE, kind)


def _published(curve: Published) -> Reference:
    title = f"{curve.title}, published" + (f", {KIND_TITLES[curve.kind]}" if curve.kind else "")
    points = [
        {"setting": "published", "bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim, "ms_ssim_db": to_db(ms_ssim)}
        for bpp, psnr, ms_ssim in curve.points
    ]
    return Reference(RdCurve.of(title, points), title, PUBLISHED, curve.kind)
