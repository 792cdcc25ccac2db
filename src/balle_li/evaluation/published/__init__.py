"""What models are trained for, and published curves of both kinds, for pictures on which others have measured too."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MSE: Final = "mse"
MS_SSIM: Final = "ms-ssim"
KIND_TITLES: Mapping[str, str] = {MSE: "MSE", MS_SSIM: "MS-SSIM"}
"""What a model's loss measures. A model of one kind is held against models of the same kind."""
HASH_LENGTH = 16


def kind_of(trained_for: Mapping[str, float]) -> str:
    """The kind of a model whose loss had these terms: MS_SSIM wherever the MS-SSIM loss has a weight, else MSE."""
    return MS_SSIM if trained_for["ms_ssim_weight"] > 0 else MSE


def kinds_differ(one: str | None, other: str | None) -> str | None:
    """A warning where two curves are of models that were trained for different things; None where not."""
    if one is None or other is None or one == other:
        return None
    return f"trained for different things, {KIND_TITLES[one]} and {KIND_TITLES[other]}"


@dataclass(frozen=True)
class Published:
    """A published curve. kind: None for a classical codec. points: (bpp, PSNR in dB, MS-SSIM), means of the pictures."""

    title: str
    kind: str | None
    points: list[tuple[float, float, float]]


@dataclass(frozen=True)
class PublishedSet:
    """Pictures that published curves are of.

    pixels: a hash of each picture, the first HASH_LENGTH hexadecimal digits of the SHA-256 of its pixels.
    source: where the figures come from.
    """

    source: str
    pixels: frozenset[str]
    curves: list[Published]


def recognised(count: int, pictures: Iterable[NDArray[np.uint8]]) -> str | None:
    """The name of these `count` pictures, `kodak`, if published curves are of them; else None.

    pictures: uint8 RGB `(H, W, 3)`, in any order. Their pixels decide, not their files: in another lossless format or under
    other names they are the same. No more of them are taken than it needs.
    """
    sets = {name: one for name, one in published_sets().items() if len(one.pixels) == count}
    found: set[str] = set()
    for picture in pictures if sets else ():
        found.add(hashlib.sha256(picture.tobytes()).hexdigest()[:HASH_LENGTH])
        sets = {name: one for name, one in sets.items() if found <= one.pixels}
        if not sets:
            break
    return next((name for name, one in sets.items() if found == one.pixels), None)


def published_sets() -> dict[str, PublishedSet]:
    """All of them, by name; `kodak` is one."""
    folder = files(__name__)
    tables = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".json"): _set(json.loads(entry.read_text(encoding="utf-8"))) for entry in tables}


def _set(table: Mapping[str, Any]) -> PublishedSet:
    curves = [
        Published(curve["title"], curve["kind"], [tuple(point) for point in curve["points"]])
        for curve in table["curves"]
    ]
    return PublishedSet(table["source"], frozenset(table["pictures"]), curves)
