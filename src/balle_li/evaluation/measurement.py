"""One picture through one codec at one setting: the record that every table, curve and page is made of."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from balle_li.boxes import Box, to_records
from balle_li.errors import BalleLiError
from balle_li.evaluation.metrics import Quality, bits_per_pixel, measure
from balle_li.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Reference:
    """A picture that codecs are measured against. `pixels` are uint8 RGB `(H, W, 3)`, upright; `source_bytes` is the
    size of the file it came from."""

    image_id: str
    pixels: np.ndarray
    boxes: tuple[Box, ...]
    source_bytes: int

    def digest(self, class_weights: Mapping[str, float]) -> str:
        """A hash of all that a measurement depends on, besides the codec."""
        parts = (self.pixels.shape, to_records(self.boxes), sorted(class_weights.items()), self.source_bytes)
        return hashlib.sha256(repr(parts).encode() + self.pixels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Measurement:
    """What became of one picture: `codec` and `setting` name how, `quality` says how good, the rest how small and fast.

    `compression_ratio` is the paper's: bytes of the source file over bytes of the stream.
    """

    image_id: str
    codec: str
    setting: str
    height: int
    width: int
    source_bytes: int
    stream_bytes: int
    encode_seconds: float
    decode_seconds: float
    quality: Quality

    @property
    def bpp(self) -> float:
        return bits_per_pixel(self.stream_bytes, self.height, self.width)

    @property
    def compression_ratio(self) -> float:
        return self.source_bytes / self.stream_bytes

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Measurement":
        """From what `dataclasses.asdict` made of one, by way of JSON.

        Raises KeyError, TypeError, ValueError or ArithmeticError where the values are damaged.
        """
        measurement = cls(**{**values, "quality": Quality(**values["quality"])})
        figures = (measurement.bpp, measurement.compression_ratio, measurement.quality.mse, measurement.quality.psnr)
        if not all(math.isfinite(figure) for figure in figures):
            raise ValueError(f"a figure of {measurement.image_id} is not finite")
        return measurement


def measure_decoded(
    reference: Reference,
    codec: str,
    setting: str,
    decoded: np.ndarray,
    stream_bytes: int,
    seconds: tuple[float, float],
    class_weights: Mapping[str, float],
) -> Measurement:
    """Compare `decoded` with its reference; `seconds` are those of encoding and decoding.

    Raises ValueError when the decoded picture has another size.
    """
    height, width = reference.pixels.shape[:2]
    quality = measure(reference.pixels, decoded, reference.boxes, class_weights)
    return Measurement(
        reference.image_id, codec, setting, height, width, reference.source_bytes, stream_bytes, *seconds, quality
    )


def schema() -> "pa.Schema":
    """The columns of `pictures.parquet`; squared errors on the 0–255 scale, PSNR in dB, null where it has no meaning."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    by_class = pa.list_(pa.struct([("label", text), ("psnr", real)]))
    columns = [("image_id", text), ("codec", text), ("setting", text), ("height", whole), ("width", whole)]
    columns += [("source_bytes", whole), ("stream_bytes", whole), ("bpp", real), ("compression_ratio", real)]
    columns += [(name, real) for name in ("mse", "psnr", "ms_ssim", "ms_ssim_db", "psnr_inside", "psnr_outside")]
    columns += [("psnr_by_class", by_class), ("encode_seconds", real), ("decode_seconds", real)]
    return pa.schema(columns)


def to_record(measurement: Measurement) -> dict[str, Any]:
    """One row of `pictures.parquet`."""
    record = dataclasses.asdict(measurement)
    record |= record.pop("quality")
    record["psnr_by_class"] = [{"label": label, "psnr": psnr} for label, psnr in record["psnr_by_class"].items()]
    return record | {"bpp": measurement.bpp, "compression_ratio": measurement.compression_ratio}


def write_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write `pictures.parquet`, one row per picture, codec and setting."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([to_record(measurement) for measurement in measurements], schema=schema())
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The rows of `pictures.parquet`. Raises BalleLiError when it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        records: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BalleLiError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return records
