"""The patch store: square crops of the pictures in memory-mapped shards, with the boxes that are seen in each.

    patches.json                    format, size, what it was cut from, and the number of patches of every shard
    <split>/shard-00000.npy         uint8 (n, size, size, 3), RGB
    <split>/index.parquet           one row a patch, in the order of the shards; see INDEX_SCHEMA

`patches.json` is written last: a store without it is unfinished.
"""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from balle_li.boxes import Box, from_records
from balle_li.data.manifest import BOXES
from balle_li.errors import BalleLiError, StageError, in_one_line
from balle_li.files import read_json

FORMAT = 1
SPLITS = ("train", "validation")
INDEX_SCHEMA = pa.schema(
    [
        ("patch", pa.int64()),  # number in the split
        ("shard", pa.int32()),
        ("row", pa.int32()),  # in the shard
        ("image_id", pa.string()),
        ("x", pa.int32()),  # left edge in the picture it was cut from, in pixels after scaling
        ("y", pa.int32()),  # top edge
        ("scale", pa.float64()),  # by which the upright picture was scaled before cutting
        ("boxes", BOXES),  # in the patch's coordinates, clipped to it
    ]
)

_HEADER_BYTES = 128  # numpy pads the header to a multiple of 64; with these four dimensions it always takes two
_MAX_OPEN = 256  # every memory map holds a file descriptor, of which a process has some 1,000

Patches = npt.NDArray[np.uint8]


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.npy"


def shard_bytes(patches: int, size: int) -> int:
    """Size of a shard's file."""
    return _HEADER_BYTES + patches * size * size * 3


def write_shard_header(file: IO[bytes], patches: int, size: int) -> None:
    """Start a shard; the patches follow as raw bytes, one after the other."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (patches, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


class PatchStore:
    """The patches of one split, read by number.

    Opening it checks that every shard is there with its full length. Shards are mapped when they are first read, so the
    memory it takes is the system's to give and take back. It may be sent to other processes: each maps for itself.

    Raises StageError: the store is missing, unfinished, damaged or of another version.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = Path(folder), split
        description = _read_description(self.folder)
        if split not in description["splits"]:
            raise StageError(f"{self.folder} has no split {split!r}, only {', '.join(sorted(description['splits']))}")
        self.size: int = description["size"]
        counts: list[int] = description["splits"][split]["shards"]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._maps: OrderedDict[int, Patches] = OrderedDict()
        for number, count in enumerate(counts):
            path = self._path(number)
            if not path.is_file() or path.stat().st_size != shard_bytes(count, self.size):
                raise _unusable(f"{path} is missing or cut short")
        self._index = self._read_index()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, patch: int) -> Patches:
        """uint8 (size, size, 3): a read-only view of the shard's memory map."""
        if not 0 <= patch < len(self):
            raise IndexError(f"patch {patch} of {len(self)}")
        shard = int(np.searchsorted(self._ends, patch, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        view: Patches = self._map(shard)[patch - first]
        return view

    def read(self, patches: Iterable[int]) -> Patches:
        """uint8 (n, size, size, 3): a copy of the patches with these numbers, in this order."""
        numbers = list(patches)
        batch = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        for row, number in enumerate(numbers):
            batch[row] = self[number]
        return batch

    def spread(self, count: int) -> npt.NDArray[np.int64]:
        """The numbers of `count` patches, of all if there are no more, evenly over the store."""
        return np.linspace(0, len(self) - 1, min(len(self), count)).round().astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of all the patches."""
        return len(self) * self.size * self.size * 3

    def load(self) -> Patches:
        """uint8 (len, size, size, 3): every patch, in memory; see `nbytes` first."""
        return self.read(range(len(self)))

    def boxes(self, patch: int) -> list[Box]:
        """The boxes seen in a patch, in its coordinates."""
        return from_records(self._index["boxes"][patch].as_py())

    def all_boxes(self) -> list[list[Box]]:
        """The boxes of every patch, in the order of the patches."""
        return [from_records(records) for records in self._index["boxes"].to_pylist()]

    def image_ids(self) -> list[str]:
        """The picture that each patch was cut from."""
        ids: list[str] = self._index["image_id"].to_pylist()
        return ids

    def __reduce__(self) -> tuple[type["PatchStore"], tuple[Path, str]]:
        return PatchStore, (self.folder, self.split)

    def _path(self, shard: int) -> Path:
        return self.folder / self.split / shard_name(shard)

    def _map(self, shard: int) -> Patches:
        if shard in self._maps:
            self._maps.move_to_end(shard)
            return self._maps[shard]
        try:
            mapped: Patches = np.load(self._path(shard), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _unusable(f"{self._path(shard)} cannot be read ({error})") from None
        if mapped.dtype != np.uint8 or mapped.shape[1:] != (self.size, self.size, 3):
            raise _unusable(f"{self._path(shard)} holds {mapped.dtype} {mapped.shape}, not patches")
        self._maps[shard] = mapped
        if len(self._maps) > _MAX_OPEN:
            self._maps.popitem(last=False)
        return mapped

    def _read_index(self) -> pa.Table:
        path = self.folder / self.split / "index.parquet"
        try:
            index = pq.read_table(path, columns=["image_id", "boxes"])
        except (OSError, pa.ArrowException) as error:
            raise _unusable(f"{path} cannot be read ({in_one_line(error)})") from None
        if index.num_rows != len(self):
            raise _unusable(f"{path} has {index.num_rows} rows for {len(self)} patches")
        return index


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "patches.json"
    if not path.is_file():
        raise StageError(f"{folder} holds no finished patches; run `kedro run --pipeline patches` first")
    try:
        description = read_json(path)
        if description["format"] != FORMAT:
            raise _unusable(f"{path} has format {description['format']}, this version reads {FORMAT}")
        if not description["splits"].keys() >= set(SPLITS) or not isinstance(description["size"], int):
            raise _unusable(f"{path} is damaged")
    except StageError:
        raise
    except (BalleLiError, KeyError, TypeError, AttributeError):
        raise _unusable(f"{path} is damaged") from None
    return description


def _unusable(what: str) -> StageError:
    return StageError(f"{what}; run `kedro run --pipeline patches` again")
