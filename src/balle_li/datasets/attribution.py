"""ATTRIBUTION.md: who made each picture and under which licence, beside the pictures themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from balle_li.files import write_bytes

UNKNOWN = "unknown"


def write_attribution(path: Path, records: Sequence[Mapping[str, Any]], preface: str) -> None:
    """Write a Markdown table of `records` (rows of index.parquet) to `path`, in order of image_id.

    `preface` is a paragraph about the pictures as a whole, such as where their labels come from.
    """
    lines = [
        "# Attribution",
        "",
        preface,
        "",
        "| picture | title | author | licence | source |",
        "|---|---|---|---|---|",
    ]
    for record in sorted(records, key=lambda record: record["image_id"]):
        cells = (
            record["image_id"],
            record.get("title") or "",
            record.get("author") or UNKNOWN,
            record.get("licence") or UNKNOWN,
            record.get("source_url") or "",
        )
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _cell(text: str) -> str:
    """One line of text in which nothing can end the table's cell."""
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|")
