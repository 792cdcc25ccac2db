"""Choosing pictures from the train split of Open Images: seconds and peak memory, on tables of its size.

python benchmarks/open_images_selection.py [FOLDER] [--pictures N]

The tables are made up: 14.6 million boxes on 1.74 million pictures, with the columns, the widths and roughly the class
frequencies of the real ones (the boxes take 2.3 GB). They are written to FOLDER once and left there. Measured is what a
download does with them: find the pictures with a box of a class and an accepted licence, choose N by the seed, then read
the rows of these pictures.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from balle_li.data.open_images.tables import BOX_COLUMNS, Tables, picture_rows, rows_with, select

BOXES = 14_600_000
PICTURES = 1_740_000
CLASSES = 601
CHUNK = 500_000
LICENCE = "https://creativecommons.org/licenses/by/2.0/"
MIDS = [f"/m/0{i:05x}" for i in range(CLASSES)]
CHOSEN_MIDS = [
    MIDS[0],
    MIDS[1],
    MIDS[20],
]  # the two most frequent classes, as Person and its children are, and a rare one


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds and memory of a selection from 14.6 million boxes")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir(), "open-images-tables"))
    parser.add_argument("--pictures", type=int, default=20_000, help="how many to choose")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    tables = Tables(arguments.folder / "boxes.csv", arguments.folder / "pictures.csv")
    if arguments.make:
        make_tables(tables)
        return
    if not (tables.boxes.exists() and tables.pictures.exists()):
        # In a process of its own, so that its memory is not taken for the selection's.
        subprocess.run([sys.executable, __file__, str(arguments.folder), "--make"], check=True)
    measure(tables, arguments.pictures)


def measure(tables: Tables, count: int) -> None:
    start = time.perf_counter()
    selection = select({"train": tables}, CHOSEN_MIDS, [LICENCE], count, seed=0)
    ids = selection.ids["train"]
    selected = time.perf_counter()
    boxes = sum(batch.num_rows for batch in rows_with(tables.boxes, BOX_COLUMNS, "ImageID", ids, quoted=False))
    pictures = len(picture_rows(tables.pictures, ids))
    end = time.perf_counter()
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e9:.2f} GB" for path in (tables.boxes, tables.pictures))
    print(f"{sizes}: {len(ids)} of {selection.found} pictures chosen, {boxes} boxes")
    assert pictures == len(ids)
    print(
        f"selection {selected - start:.1f} s, rows of the chosen {end - selected:.1f} s, together {end - start:.1f} s"
    )
    print(f"peak memory {peak_bytes() / 1e9:.2f} GB")


def peak_bytes() -> int:
    """The largest resident memory of this process so far (Linux; getrusage would count the parent's as well)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM line")


def make_tables(tables: Tables) -> None:
    tables.boxes.parent.mkdir(parents=True, exist_ok=True)
    make_boxes(tables.boxes)
    part = tables.pictures.with_suffix(".part")
    make_pictures(part)
    part.rename(tables.pictures)  # the last file made: when it is there, all are


def make_boxes(path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pacsv

    random = np.random.default_rng(0)
    names = [*BOX_COLUMNS, *(f"XClick{i}{axis}" for axis in "XY" for i in range(1, 5))]
    mids = pa.array(MIDS)
    frequencies = 1.0 / np.arange(1, CLASSES + 1)
    cumulated = np.cumsum(frequencies / frequencies.sum())
    numbers = pa.array([f"{value:.6f}" for value in np.linspace(0, 1, 100_001)])
    flags = pa.array(["0", "1"])
    owners = np.sort(random.integers(0, PICTURES, BOXES))
    ids = pa.array([image_id(i) for i in range(PICTURES)])
    schema = pa.schema([(name, pa.string()) for name in names])
    options = pacsv.WriteOptions(
        include_header=False, quoting_style="none"
    )  # it would put the header in quotation marks
    with open(path, "wb") as file, pacsv.CSVWriter(file, schema, write_options=options) as writer:
        file.write(",".join(names).encode() + b"\n")
        for first in range(0, BOXES, CHUNK):
            rows = min(CHUNK, BOXES - first)
            classes = np.minimum(np.searchsorted(cumulated, random.random(rows)), CLASSES - 1)
            constant = [pa.array([text] * rows) for text in ("xclick", "1")]
            corners = [numbers.take(pa.array(random.integers(0, len(numbers), rows))) for _ in range(12)]
            bits = [flags.take(pa.array((random.random(rows) < 0.1).astype(int))) for _ in range(5)]
            start = [
                ids.take(pa.array(owners[first : first + rows])),
                constant[0],
                mids.take(pa.array(classes)),
                constant[1],
            ]
            writer.write_table(pa.table([*start, *corners[:4], *bits, *corners[4:]], names=names))


def make_pictures(path: Path) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,"
            "OriginalMD5,Thumbnail300KURL,Rotation\n"
        )
        for i in range(PICTURES):
            file.write(
                f"{image_id(i)},train,https://farm5.staticflickr.com/{i % 8000}/{i}_a1b2c3d4e5_o.jpg,"
                f"https://www.flickr.com/photos/author/{i},{LICENCE},https://www.flickr.com/people/author/,"
                f'"Author, {i % 9999}","A ""title"" of some length {i}",{i * 3 + 200000},mAxd1e8rWcOBzHPnKU5ZDg==,'
                f"https://c4.staticflickr.com/{i % 8000}/{i}_a1b2c3d4e5_z.jpg,0.0\n"
            )


def image_id(number: int) -> str:
    """Sixteen hexadecimal digits in no order, as ImageIDs have them."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


if __name__ == "__main__":
    main()
