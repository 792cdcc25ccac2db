"""Files and folders: written whole or not at all, found from wherever a command runs, and never inflated past a limit."""

import errno
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from balle_li.errors import BalleLiError, BitstreamError, ConfigError

RELEASED_MODELS = Path(__file__).with_name("released_model")
"""The weights that ship with the package, a `balle-li-roi` for each tune: model folders, with a model card."""
TUNES = ("ms-ssim", "psnr")
"""What a model may be tuned for; the first is the default."""


def released_model(tune: str | None = None) -> Path:
    """The model folder of the weights that ship, of one of TUNES. Raises BalleLiError: there is no such tune."""
    if tune is not None and tune not in TUNES:
        raise BalleLiError(f"tune is {tune!r}, must be {' or '.join(TUNES)}")
    return RELEASED_MODELS / (tune or TUNES[0])


def project_home() -> Path:
    """The user's checkout: DVC names it when it runs a stage in a temporary workspace, else it is `workspace`."""
    root = os.environ.get("DVC_ROOT")
    return Path(root).resolve() if root else workspace()


def workspace() -> Path:
    """The project that this process works in, a checkout or DVC's temporary copy of one, from wherever in it one stands.

    That is the nearest folder here or above with a project, as Kedro finds it too; the current directory where there is none.
    """
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if is_project(folder)), here)


def named_path(text: str) -> Path:
    """A path as params.yaml names it: `~` is the user's home, and a relative one starts at `project_home`. It need not exist.

    Raises ConfigError: it starts at the home of a user whom this machine does not know.
    """
    try:
        return project_home() / Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: this machine knows no home of that user; write the whole path") from None


def is_project(folder: Path) -> bool:
    """Whether the folder's pyproject.toml has a section [tool.kedro]."""
    try:
        return "[tool.kedro]" in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it takes the place of `path`, else it is removed.

    Raises BalleLiError when the disk is full.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(
        f".{uuid.uuid4().hex[:16]}.part"
    )  # shorter than a name may be, however long the target's is
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BalleLiError(f"{target}: the disk is full; free some space and run the same command again") from error
        raise
    finally:
        part.unlink(missing_ok=True)


def files_below(
    folder: str | os.PathLike[str],
    enters: Callable[[str], bool],
    refused: Callable[[OSError], None],
    skip: Path | None = None,
) -> Iterator[Path]:
    """Whatever below `folder` is no folder: files, but also pipes and broken links. Symbolic links to folders are followed.

    Each real folder is visited once, and `skip` never: of several ways to one, the first by name is always taken.
    enters: whether a folder of that name is visited. refused: is given the error of a folder that cannot be read.
    """
    visited = set() if skip is None else {os.path.realpath(skip)}
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refused):
        real = os.path.realpath(here)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(filter(enters, folders))
        yield from (Path(here, name) for name in names)


def printable(path: str | os.PathLike[str]) -> str:
    """A path for messages of one line: line breaks, and bytes that are no UTF-8, are written as `\\n` and `\\xe9`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically: equal values give equal bytes."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises BalleLiError when it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BalleLiError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:  # the latter of brackets in brackets in brackets
        raise BalleLiError(f"{path} is not valid JSON ({error}); delete it and run its stage again") from None


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_fraction(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on `seed` and `key` alone: the project's way to choose at random, reproducibly."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64


def inflate(data: bytes, limit: int) -> bytes:
    """Undo zlib.compress. Raises BitstreamError when `data` is damaged or would grow beyond `limit` bytes."""
    engine = zlib.decompressobj()
    try:
        plain = engine.decompress(data, limit + 1)
    except zlib.error:
        plain = b""
    if not engine.eof or engine.unused_data or len(plain) > limit:
        raise BitstreamError("a deflated section of the stream is damaged")
    return plain
