"""Which pictures a model does best and worst on, beside JPEG."""

from collections.abc import Sequence

import numpy as np

from balle_li.evaluation.curves import mean_curve
from balle_li.evaluation.measurement import Measurement


def rank(model: Sequence[Measurement], jpeg: Sequence[Measurement]) -> list[tuple[Measurement, float]]:
    """The model's measurements, one a picture, with the gain in PSNR over JPEG of equal rate, the largest first.

    Where a rate lies outside JPEG's curve, JPEG's nearest setting stands for it.
    """

    def gain(own: Measurement) -> float:
        points = mean_curve("jpeg", (other for other in jpeg if other.image_id == own.image_id)).points
        rates, qualities = [point.bpp for point in points], [point.psnr for point in points]
        return own.quality.psnr - float(np.interp(own.bpp, rates, qualities))

    return sorted(((own, gain(own)) for own in model), key=lambda pair: pair[1], reverse=True)


def spread(ranked: Sequence[Measurement], count: int) -> list[Measurement]:
    """At most `count` of them, evenly from the best to the worst, so that a page does not flatter."""
    chosen = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[i] for i in chosen]


def ends(ranked: Sequence[Measurement], count: int) -> list[Measurement]:
    """The `count` best and the `count` worst, without repetition."""
    return list(ranked) if len(ranked) <= 2 * count else [*ranked[:count], *ranked[-count:]]
