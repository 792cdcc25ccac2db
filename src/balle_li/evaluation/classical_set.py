"""Classical codecs on a set of pictures, by as many processes as it takes."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from balle_li.compute import ComputeConfig, cluster
from balle_li.datasets.manifest import ManifestRow
from balle_li.errors import ConfigError
from balle_li.evaluation import test_set
from balle_li.evaluation.classical import classical_codec
from balle_li.evaluation.classical_cache import default_cache, measure_classical
from balle_li.evaluation.config import EvaluationConfig
from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.test_set import PictureSet
from balle_li.progress import progress

SMALL = 1000
"""Files of a codec; fewer are made sooner than worker processes start."""

Settings = Sequence[tuple[str, float]]
"""Names of codecs and qualities of their dials."""

logger = logging.getLogger(__name__)


def settings(config: EvaluationConfig) -> Settings:
    """What to measure: JPEG at its configured qualities, the other codecs at theirs.

    A codec whose package is not installed is left out with a warning.
    """
    chosen: list[tuple[str, float]] = [("jpeg", quality) for quality in config.all_jpeg_qualities]
    for name in dict.fromkeys(config.codecs):
        try:
            codec = classical_codec(name)
        except ConfigError as error:
            logger.warning("%s", error)
            continue
        if name != "jpeg":
            chosen += [(name, quality) for quality in codec.qualities]
    return chosen


def measure_set(
    pictures: PictureSet, chosen: Settings, class_weights: Mapping[str, float], compute: ComputeConfig
) -> list[Measurement]:
    """Every picture of the set at every setting, in this order. What was measured before comes from the cache.

    Raises StageError naming the picture that fails; ConfigError when the scheduler does not answer.
    """
    measurements: list[Measurement] = []
    with progress(f"Classical codecs on {pictures.name}", len(pictures.rows), "pictures") as advance:
        for done in _measure_all(pictures, chosen, class_weights, compute):
            measurements += done
            advance(1)
    order = {row["image_id"]: index for index, row in enumerate(pictures.rows)}
    return sorted(measurements, key=lambda measurement: order[measurement.image_id])


def _measure_all(
    pictures: PictureSet, chosen: Settings, class_weights: Mapping[str, float], compute: ComputeConfig
) -> Iterator[list[Measurement]]:
    common = pictures.root.resolve(), chosen, dict(class_weights), default_cache()
    alone = compute.scheduler is None and compute.workers == 1
    if alone or len(pictures.rows) * len(chosen) < SMALL:
        for row in pictures.rows:
            yield _measure_picture(row, *common)
        return
    from distributed import as_completed

    with cluster(compute) as client:
        tasks = [client.submit(_measure_picture, row, *common, pure=False) for row in pictures.rows]
        for task in as_completed(tasks):
            yield task.result()


def _measure_picture(
    row: ManifestRow, root: Path, chosen: Settings, class_weights: Mapping[str, float], cache: Path
) -> list[Measurement]:
    with test_set.naming(row):
        reference = test_set.read_reference(root, row)
        return [
            measure_classical(reference, classical_codec(name), quality, class_weights, cache)
            for name, quality in chosen
        ]
