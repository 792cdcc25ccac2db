"""Measurements: a row for every picture, codec and setting, as one table that is written once and grouped once.

Columns: `image_id`, `codec`, `setting`, `kind` (see KINDS), `height` and `width` in pixels, `source_bytes`, `stream_bytes`,
`bpp`, `compression_ratio` (the paper's: bytes of the source file over bytes of the stream), `encode_seconds`,
`decode_seconds`, `mse` (on the 0–255 scale), `exact`, the columns of the metrics that were measured, and `compared`.
"""

import functools
import json
import logging
import math
import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import Box
from balle_li.errors import BalleLiError
from balle_li.evaluation.codecs import ClassicalCodec, round_trip
from balle_li.evaluation.metrics import BY_CLASS, MetricFacts, Pair, Regions, measure
from balle_li.files import atomic_path, project_home

if TYPE_CHECKING:
    import pandas as pd

EVALUATION_FILE, MEASUREMENTS_FILE = "evaluation.json", "measurements.parquet"
"""What was measured of which model, with what was left out, and the table."""
STREAMS, EXAMPLES, EXAMPLES_INDEX = "streams", "examples", "examples.json"
"""The folders of the model's streams and of example pictures, and the file in the second that describes them."""
HEADLINE: Final = "headline"
OTHER_QUALITY: Final = "other quality"
WITH_BOXES: Final = "with boxes"
BASELINE: Final = "baseline"
CLASSICAL: Final = "classical"
KINDS = (HEADLINE, OTHER_QUALITY, WITH_BOXES, BASELINE, CLASSICAL)
"""The model at the setting that stands for it; at its other qualities; given the boxes, in a file no larger than the
headline's; other models; and the classical codecs."""
FEWEST = 0.5
"""A codec that cannot take this fraction of the pictures is left out altogether: it would leave nothing to compare."""

_TEXT = ("image_id", "codec", "setting", "kind")
_WHOLE = ("height", "width", "source_bytes", "stream_bytes")
_FLAGS = ("exact", "compared")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """A picture that codecs are measured against. `pixels` are uint8 RGB `(H, W, 3)`, upright; `source_bytes` is the
    size of the file it came from; `class_weights` says how much the boxes of a label count, 1 where it names none."""

    image_id: str
    pixels: NDArray[np.uint8]
    source_bytes: int
    boxes: tuple[Box, ...] = ()
    class_weights: Mapping[str, float] = field(default_factory=dict)

    @functools.cached_property
    def regions(self) -> Regions:
        """Where the boxes are, for metrics that take weights."""
        return Regions.of(self.boxes, self.class_weights, *self.pixels.shape[:2])


def measure_decoded(
    reference: Reference,
    names: tuple[str, str, str],
    decoded: NDArray[np.uint8],
    stream_bytes: int,
    seconds: tuple[float, float],
    metrics: Iterable[str],
) -> dict[str, Any]:
    """The row of a decoded picture. names: codec, setting and kind. seconds: of encoding and of decoding.

    Raises ValueError: the decoded picture has another size.
    """
    height, width = reference.pixels.shape[:2]
    codec, setting, kind = names
    return {
        "image_id": reference.image_id,
        "codec": codec,
        "setting": setting,
        "kind": kind,
        "height": height,
        "width": width,
        "source_bytes": reference.source_bytes,
        "stream_bytes": stream_bytes,
        "bpp": 8.0 * stream_bytes / (height * width),
        "compression_ratio": reference.source_bytes / stream_bytes,
        "encode_seconds": seconds[0],
        "decode_seconds": seconds[1],
        **measure(Pair(reference.pixels, decoded), metrics, reference.regions),
    }


def measure_classical(
    reference: Reference, codec: ClassicalCodec, qualities: Iterable[float], metrics: Iterable[str]
) -> list[dict[str, Any]]:
    """The rows of a classical codec at `qualities` of its dial. Raises BalleLiError: it cannot take the picture."""
    rows = []
    for quality in qualities:
        trip = round_trip(reference.pixels, codec, quality)
        names = codec.name, codec.setting(quality), CLASSICAL
        rows.append(measure_decoded(reference, names, trip.decoded, trip.stream_bytes, trip[2:], metrics))
    return rows


def to_frame(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Rows as a table; a value that is None becomes NaN."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    reals = [name for name in frame if not (name in _TEXT + _WHOLE + _FLAGS or str(name).endswith(BY_CLASS))]
    return frame.astype(dict.fromkeys(reals, float))


def mark_compared(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table with the column `compared`: whether means and BD-rates use the row's picture.

    They use the pictures that the model and every codec have at every setting, so that all means are of the same ones. A
    picture that any setting reproduces exactly has no finite PSNR and is not among them; it is counted apart. A codec that
    lacks at least the fraction FEWEST of the pictures is taken out. Where no picture remains, all that the model has do.
    """
    single = frame[frame["kind"] != WITH_BOXES]
    settings = single.groupby("codec")["setting"].nunique()
    whole = single.groupby(["image_id", "codec"]).size().unstack(fill_value=0).eq(settings, axis=1)
    models = set(single.loc[single["kind"].isin([HEADLINE, OTHER_QUALITY]), "codec"])
    common = [codec for codec in whole if codec in models or whole[codec].mean() > 1 - FEWEST]
    for codec in whole.columns.difference(common):
        logger.warning("%s is left out: it took only %d of %d pictures", codec, whole[codec].sum(), len(whole))
    kept = frame[frame["codec"].isin(common) | (frame["kind"] == WITH_BOXES)]
    exact = single[single["codec"].isin(common)].groupby("image_id")["exact"].any()
    compared = whole[common].all(axis=1) & ~exact
    if not compared.any():
        compared = whole[[name for name in whole if name in models]].all(axis=1)
    return kept.assign(compared=kept["image_id"].map(compared).astype(bool)).reset_index(drop=True)


def gains(frame: "pd.DataFrame", metrics: Iterable[MetricFacts]) -> "pd.DataFrame":
    """By how much the model's headline is better than JPEG at each compared picture's own rate, by image_id.

    A column for each metric in its own unit, positive where the model is better, NaN where a picture has no figure.
    `within`: whether JPEG reaches the rate; where it does not, its nearest setting stands for it. Between JPEG's settings
    the value follows straight lines over log(bpp).
    """
    import pandas as pd

    compared = frame[frame["compared"]]
    model = compared[compared["kind"] == HEADLINE].set_index("image_id")
    chosen = list(metrics)
    names = [facts.name for facts in chosen]
    against = np.full((len(model), len(names)), np.nan)
    within = np.zeros(len(model), bool)
    log_bpp, place = np.log(model["bpp"].to_numpy()), {name: index for index, name in enumerate(model.index)}
    jpeg = compared[compared["codec"] == "jpeg"].sort_values("bpp")
    for image_id, curve in jpeg.groupby("image_id", sort=False):
        row, rates = place[image_id], np.log(curve["bpp"].to_numpy())
        within[row] = rates[0] <= log_bpp[row] <= rates[-1]
        for column, values in enumerate(curve[names].to_numpy().T):
            there = np.isfinite(values)
            if there.any():
                against[row, column] = np.interp(log_bpp[row], rates[there], values[there])
    signs = [1.0 if facts.higher_is_better else -1.0 for facts in chosen]
    found = pd.DataFrame(signs * (model[names].to_numpy() - against), index=model.index, columns=names)
    return found.assign(within=within)


def write_measurements(path: Path, frame: "pd.DataFrame") -> None:
    """Write the table as Parquet; NaN becomes null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def type_of(name: str) -> Any:
        if name.endswith(BY_CLASS):
            return pa.list_(pa.struct([("label", pa.string()), ("value", pa.float64())]))
        if name in _TEXT:
            return pa.string()
        return pa.int64() if name in _WHOLE else pa.bool_() if name in _FLAGS else pa.float64()

    schema = pa.schema([(name, type_of(name)) for name in frame.columns.astype(str)])
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), part, compression="zstd")


def read_measurements(path: Path) -> "pd.DataFrame":
    """The table at `path`. Raises BalleLiError: it is missing, damaged, or another version of the project wrote it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise BalleLiError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    missing = {*_TEXT, *_WHOLE, *_FLAGS, "bpp", "compression_ratio", "mse"}.difference(frame.columns)
    if missing:
        raise BalleLiError(f"{path} is of another version of the project: it lacks {', '.join(sorted(missing))}")
    return frame


class MeasurementCache:
    """What was measured once, with the streams that belong to it, so that interrupted and repeated work resumes.

    One process of a stage reads and writes it, not its workers. The library evicts what nobody used for longest when
    SIZE_LIMIT is reached. The folder may be deleted at any time; a damaged one is deleted here.
    """

    FORMAT = 2
    """Raise it when what a row means changes: older ones are then measured again."""
    SIZE_LIMIT = 2**31

    def __init__(self, folder: Path | None = None) -> None:
        import diskcache

        folder = folder or project_home() / ".evaluation"

        def opened() -> Any:
            return diskcache.Cache(str(folder), size_limit=self.SIZE_LIMIT, eviction_policy="least-recently-used")

        try:
            self._cache = opened()
        except sqlite3.DatabaseError as error:
            logger.warning("%s is damaged (%s) and is started again", folder, error)
            shutil.rmtree(folder)
            self._cache = opened()

    def find(self, key: Sequence[Any]) -> tuple[list[dict[str, Any]], bytes] | None:
        """The rows and the stream (empty where there is none) that were kept under `key`; None for none."""
        text = repr((self.FORMAT, *key))
        try:
            rows = json.loads(self._cache[text])
            stream = self._cache[f"{text} stream"]
            whole = all(math.isfinite(row["bpp"]) and math.isfinite(row["mse"]) for row in rows)
            return (rows, stream) if whole and isinstance(stream, bytes) else None
        except (KeyError, TypeError, ValueError, sqlite3.DatabaseError):
            return None

    def keep(self, key: Sequence[Any], rows: Sequence[Mapping[str, Any]], stream: bytes = b"", tag: str = "") -> None:
        """Keep rows and a stream under `key`; `forget(tag)` forgets them."""
        text = repr((self.FORMAT, *key))
        try:
            self._cache.set(f"{text} stream", stream, tag=tag or None)
            self._cache.set(text, json.dumps(list(rows)), tag=tag or None)
        except sqlite3.DatabaseError as error:
            logger.warning("a measurement is not kept for the next time: %s", error)

    def forget(self, tag: str) -> None:
        """Forget what was kept with `tag`."""
        self._cache.evict(tag)
