"""Many files at once: from a command's arguments to sources and destinations, and through the codec."""

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from balle_li.codec.bitstream import NAMES, Stream
from balle_li.errors import BalleLiError
from balle_li.files import printable, write_bytes
from balle_li.image_io import Picture, encoded, format_of, pictures_in
from balle_li.interfaces import decoding_codec, default_codec
from balle_li.interfaces.arguments import Arguments
from balle_li.interfaces.pillow_plugin import EXTENSION
from balle_li.latents import Section
from balle_li.progress import progress
from balle_li.quality_map import STEPS, r_to_quality

STANDARD = "-"

# Streams are read to memory whole; no picture of 2^28 pixels comes near this.
MAX_STREAM_BYTES = 2**31

NOT_PORTABLE = "on the kind of processor, and with the number of threads, that coded it"
_NAMED = 3  # of what is skipped in a folder

Job = tuple[str, str]
Conversion = Callable[[bytes, str], tuple[bytes, tuple[str, ...]]]
"""A source's content and the destination's name to the destination's content and, in words, what it leaves out."""


@dataclass(frozen=True)
class Plan:
    """jobs: (source, destination). refused: why sources cannot be done, a line each. skipped: what folders hold besides."""

    jobs: list[Job]
    refused: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def run_compress(
    paths: Sequence[str],
    model: str | None,
    tune: str | None,
    device: str,
    workers: int,
    force: bool,
    arguments: Arguments,
) -> int:
    """Compress every source; returns how many failed. Raises typer.BadParameter: the paths make no sense."""
    found = plan(paths, EXTENSION, _pictures_in, lambda suffix: suffix == EXTENSION)
    codec = default_codec(model, device, tune)

    alone = len(found.jobs) == 1 and arguments.options.effort > 0  # several pictures have a progress of their own
    with _percent("Compressing") if alone else nullcontext() as report:

        def convert(data: bytes, destination: str) -> tuple[bytes, tuple[str, ...]]:
            picture = Picture.read(data)
            return codec.compress(picture, arguments.of(*picture.size), progress=report), picture.left_out

        return _run(found, convert, "Compressing", workers, force)


def run_decompress(
    paths: Sequence[str], model: str | None, device: str, workers: int, picture_format: str | None, force: bool
) -> int:
    """Decompress every source; returns how many failed. Raises typer.BadParameter: paths or format make no sense."""
    suffix = f".{(picture_format or 'png').lower().lstrip('.')}"
    if format_of(suffix) is None:
        raise typer.BadParameter(f"{picture_format} is not a picture format that can be written")
    found = plan(paths, suffix, _streams_in, lambda name: format_of(name) is not None)

    def convert(data: bytes, destination: str) -> tuple[bytes, tuple[str, ...]]:
        image = decoding_codec(data, model, device).decompress(data)
        chosen = format_of(suffix if picture_format or destination == STANDARD else Path(destination).suffix)
        assert chosen is not None
        return encoded(image, chosen)

    return _run(found, convert, "Decompressing", workers, force)


def describe_stream(path: str) -> dict[str, Any]:
    """What a stream's container says, by name; sizes in bytes. Raises BitstreamError."""
    with _named(path):
        data = _read(path)
        stream = Stream.unpack(data)
    r = stream.sections.get(Section.QUALITY_MAP)
    quality = None if r is None else _quality(r)
    sections = {NAMES.get(tag, f"unknown {tag}"): len(content) for tag, content in stream.sections.items()}
    return {
        "file": printable(path),
        "width": stream.width,
        "height": stream.height,
        "mode": stream.mode,
        "model": stream.fingerprint.hex(),
        **({} if quality is None else {"quality": quality}),
        **({"decodes": NOT_PORTABLE} if Section.SYMBOL_CHECKSUM in stream.sections else {}),
        "bytes": len(data),
        "bpp": round(8 * len(data) / (stream.width * stream.height), 4),
        "sections": sections | {"container": len(data) - sum(sections.values())},
    }


def _quality(r: bytes) -> float | str:
    """The quality that an even quality map was coded at."""
    if len(r) != 1:
        return "by region"
    return round(r_to_quality(int.from_bytes(r, "little", signed=True) / STEPS), 1)


def refuse_empty(paths: Sequence[str]) -> None:
    """Raise typer.BadParameter if one of the paths is empty, as an unset variable of the shell is."""
    if "" in paths:
        raise typer.BadParameter("one of the paths is empty; name a file or a folder, `.` for the current one")


def plan(
    paths: Sequence[str],
    suffix: str,
    files_in: Callable[[Path], tuple[list[Path], list[Path]]],
    is_destination: Callable[[str], bool],
) -> Plan:
    """Sources and destinations meant by `SOURCE... [DESTINATION]`, as cp and mv understand them.

    suffix: of what is written; files_in: the files to take from a folder, and those to skip; is_destination: whether a file
    may be written under a name with that suffix. Raises typer.BadParameter.
    """
    refuse_empty(paths)
    *sources, destination = paths if len(paths) > 1 else [*paths, ""]
    several = len(sources) > 1 or os.path.isdir(sources[0])
    if sources[0] == STANDARD and destination in ("", STANDARD):
        return Plan([(STANDARD, STANDARD)])
    if STANDARD in sources and (several or os.path.isdir(destination) or destination.endswith("/")):
        raise typer.BadParameter("standard input goes to one file or to standard output")
    if destination == STANDARD and several:
        raise typer.BadParameter("only one file can go to standard output")
    to_file = destination not in ("", STANDARD) and not several and not os.path.isdir(destination)
    if to_file and not destination.endswith("/"):
        if not is_destination(Path(destination).suffix.lower()):
            raise typer.BadParameter(
                f"{printable(destination)} cannot be the destination: its name must end in {suffix} or the like"
            )
        return Plan([(sources[0], destination)])
    if destination == STANDARD:
        return Plan([(sources[0], STANDARD)])
    if os.path.isfile(destination):
        raise typer.BadParameter(f"{printable(destination)}, the last path, is where to write, so it must be a folder")
    found: dict[Path, Path] = {}
    skipped: list[str] = []
    for source in map(Path, dict.fromkeys(sources)):
        is_folder = os.path.isdir(source)
        files, others = files_in(source) if is_folder else ([source], [])
        if not files:
            raise typer.BadParameter(
                f"{printable(source)} holds nothing to {'compress' if suffix == EXTENSION else 'decompress'}"
            )
        base = source if is_folder else source.parent
        found |= {file: Path(destination) / file.relative_to(base) if destination else file for file in files}
        skipped += [printable(file.relative_to(base)) for file in others]
    return _apart(found, suffix, tuple(skipped))


def _pictures_in(folder: Path) -> tuple[list[Path], list[Path]]:
    pictures, others = pictures_in(folder)
    return pictures, [file for file in others if file.suffix.lower() != EXTENSION]


def _streams_in(folder: Path) -> tuple[list[Path], list[Path]]:
    return pictures_in(folder, {EXTENSION})[0], []


def _apart(found: dict[Path, Path], suffix: str, skipped: tuple[str, ...]) -> Plan:
    """Jobs with one destination each.

    Where two sources differ in their suffix alone, it stays: `a.jpg` and `a.png` go to `a.jpg.bli` and `a.png.bli`. Of those
    that cannot be told apart even so, from several folders into one, the first is done.
    """
    of_one_name = Counter(place.with_suffix(suffix) for place in found.values())
    sources: dict[Path, Path] = {}
    refused = []
    for source, place in found.items():
        short = place.with_suffix(suffix)
        destination = short if of_one_name[short] == 1 else place.with_name(place.name + suffix)
        first = sources.setdefault(destination, source)
        if first != source:
            refused.append(
                f"{printable(source)}: {printable(first)} goes to {printable(destination)} too; give it another folder"
            )
    jobs = [(str(source), str(destination)) for destination, source in sources.items()]
    return Plan(jobs, tuple(refused), skipped)


def _run(plan: Plan, convert: Conversion, description: str, workers: int, force: bool) -> int:
    """Do every job; complain on stderr of those that fail, and return their number."""

    def work(source: str, destination: str) -> tuple[str, ...]:
        with _named(source):
            if destination != STANDARD and os.path.exists(destination) and not force:
                raise BalleLiError(f"{printable(destination)} exists; --force overwrites it")
            data, left_out = convert(_read(source), destination)
            _write(destination, data)
            return left_out

    for line in (*plan.refused, *_skipping(plan.skipped)):
        typer.echo(f"balle-li: {line}", err=True)
    failed = len(plan.refused)
    with ThreadPoolExecutor(workers) as pool, _progress(description, len(plan.jobs)) as advance:
        try:
            sources = {pool.submit(work, *job): job[0] for job in plan.jobs}
            for future in as_completed(sources):
                error = future.exception()
                if isinstance(error, BalleLiError):
                    typer.echo(f"balle-li: {error}", err=True)
                    failed += 1
                else:
                    for what in future.result():
                        typer.echo(f"balle-li: {printable(sources[future])}: {what}", err=True)
                advance(1)
        except BaseException:  # Ctrl-C too: finish the pictures in work, begin no other
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _skipping(skipped: Sequence[str]) -> Iterator[str]:
    if skipped:
        more = "" if len(skipped) <= _NAMED else f" and {len(skipped) - _NAMED} more"
        files = "1 file that is no picture" if len(skipped) == 1 else f"{len(skipped)} files that are no pictures"
        yield f"skipping {files}: {', '.join(skipped[:_NAMED])}{more}"


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    if total > 1:
        with progress(description, total, "pictures") as advance:
            yield advance
    else:
        yield lambda done: None


@contextmanager
def _percent(description: str) -> Iterator[Callable[[float], None]]:
    """Progress of one picture, given the fraction done."""
    with progress(description, 100, "%") as advance:
        shown = 0

        def report(fraction: float) -> None:
            nonlocal shown
            advance(int(100 * fraction) - shown)
            shown = int(100 * fraction)

        yield report


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Turn whatever one picture can make fail into a BalleLiError that names it: the others go on."""
    name = "standard input" if source == STANDARD else printable(source)
    try:
        yield
    except BalleLiError as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError:
        raise BalleLiError(f"{name}: the picture does not fit into memory; cut it") from None
    except OSError as error:
        raise BalleLiError(f"{name}: {error.strerror or error}") from error
    except Exception as error:
        raise BalleLiError(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _write(destination: str, data: bytes) -> None:
    """Write to a file or to standard output. Raises BalleLiError, which names it."""
    try:
        if destination == STANDARD:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_bytes(destination, data)
    except OSError as error:
        name = "standard output" if destination == STANDARD else printable(destination)
        # Of its folder: making that says that the file in its place exists.
        reason = os.strerror(errno.ENOTDIR) if isinstance(error, FileExistsError) else error.strerror or error
        raise BalleLiError(f"{name} cannot be written: {reason}") from error


def _read(source: str) -> bytes:
    if source == STANDARD:
        data = sys.stdin.buffer.read(MAX_STREAM_BYTES + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise BalleLiError("more than 2 GiB; cut the picture")
    return data
