"""Rows of Open Images' CSV tables, streamed: the largest has 14.6 million and is never in memory."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from balle_li.datasets.open_images import metadata
from balle_li.errors import DatasetError

BOX_COLUMNS = (
    *("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"),
    *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"),
)
PICTURE_COLUMNS = ("ImageID", "OriginalURL", "OriginalLandingURL", "License", "Author", "Title", "Rotation")

BLOCK_BYTES = 8 << 20


def stream(path: Path, columns: Sequence[str], quoted: bool) -> Iterator[pa.RecordBatch]:
    """The file's rows in batches of about 8 MiB of text, all columns as text: an ImageID may be all digits.

    `quoted`: fields may be in quotation marks and hold commas and line breaks, which takes longer to read; they may also
    hold bytes that are no UTF-8, so that columns come as bytes.

    Raises DatasetError: the file is damaged; it is removed.
    """
    kind = pa.binary() if quoted else pa.string()
    try:
        with pacsv.open_csv(
            path,
            read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(quote_char='"' if quoted else False, newlines_in_values=quoted),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns), column_types=dict.fromkeys(columns, kind)
            ),
        ) as batches:
            yield from batches
    except pa.ArrowException as error:
        metadata.discard(path)
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{path} was damaged ({reason}) and has been removed; run the same command again") from None


def rows_with(
    path: Path, columns: Sequence[str], column: str, values: Collection[str], quoted: bool
) -> Iterator[pa.RecordBatch]:
    """The rows whose `column` is one of `values`, in the file's order."""
    wanted = pa.array(sorted(values), pa.string())
    if quoted:
        wanted = wanted.cast(pa.binary())
    for batch in stream(path, columns, quoted):
        yield batch.filter(pc.is_in(batch.column(column), value_set=wanted))
