"""Curves that runs are held against: classical codecs, baselines measured on the same pictures, and published figures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from balle_li.comparison.curves import RdCurve
from balle_li.comparison.runs import SetResult
from balle_li.evaluation.codecs import codec_title
from balle_li.evaluation.metrics import to_db
from balle_li.evaluation.published import KIND_TITLES, Published, published_sets

CLASSICAL: Final = "classical"
BASELINE: Final = "baseline"
PUBLISHED: Final = "published"


@dataclass(frozen=True)
class Reference:
    """A curve that is no run's. sort: CLASSICAL, BASELINE or PUBLISHED. kind: what a model's loss measures, one of
    KIND_TITLES; None for a classical codec."""

    curve: RdCurve
    title: str
    sort: str
    kind: str | None = None


def references(results: Sequence[SetResult], kinds: Iterable[str]) -> list[Reference]:
    """Those of runs of these `kinds`, measured on the same pictures. Of published models those of the same kinds."""
    most = max(results, key=lambda result: len(result.classical))
    known_as = most.metrics["known_as"]
    return [
        *(Reference(curve, codec_title(name), CLASSICAL) for name, curve in most.classical.items()),
        *_baselines(results),
        *(one for one in published_references(known_as) if one.kind in {None, *kinds}),
    ]


def published_references(known_as: str | None) -> list[Reference]:
    """What others have published of the pictures that are known by this name; nothing where they are not known."""
    if known_as is None:
        return []
    return [_published(curve) for curve in published_sets()[known_as].curves]


def _baselines(results: Iterable[SetResult]) -> Iterator[Reference]:
    """Each once. Two models of one name, as an alias names one today and another tomorrow, are told apart by their hashes."""
    found = {
        (name, result.metrics["baselines"][name]["digest"]): (curve, result.metrics["baselines"][name]["kind"])
        for result in results
        for name, curve in result.baselines.items()
    }
    names = [name for name, _ in found]
    for (name, digest), (curve, kind) in found.items():
        title = name if names.count(name) == 1 else f"{name} ({digest[:6]})"
        yield Reference(replace(curve, codec=title), title, BASELINE, kind)


def _published(curve: Published) -> Reference:
    title = f"{curve.title}, published" + (f", {KIND_TITLES[curve.kind]}" if curve.kind else "")
    points = [
        {"setting": "published", "bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim, "ms_ssim_db": to_db(ms_ssim)}
        for bpp, psnr, ms_ssim in curve.points
    ]
    return Reference(RdCurve.of(title, points), title, PUBLISHED, curve.kind)
