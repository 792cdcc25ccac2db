"""Many files at once: from a command's arguments to sources and destinations, and through the codec."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from PIL import Image, UnidentifiedImageError

from balle_li.codec.bitstream import NAMES, Stream
from balle_li.errors import BalleLiError
from balle_li.files import write_bytes
from balle_li.interfaces.arguments import Arguments
from balle_li.interfaces.locate import decoding_codec, default_codec
from balle_li.interfaces.pillow_plugin import EXTENSION
from balle_li.latents.sections import Section
from balle_li.progress import progress
from balle_li.quality_map import STEPS, r_to_quality

STANDARD = "-"

# Streams are read to memory whole; no picture of 2^28 pixels comes near this.
MAX_STREAM_BYTES = 2**31

Job = tuple[str, str]
Conversion = Callable[[bytes, str], bytes]


def run_compress(
    paths: Sequence[str], model: str | None, device: str, workers: int, force: bool, arguments: Arguments
) -> int:
    """Compress every source; returns how many failed. Raises typer.BadParameter: the paths make no sense."""
    Image.init()
    jobs = plan(paths, set(Image.registered_extensions()) - {EXTENSION}, EXTENSION, lambda suffix: suffix == EXTENSION)
    codec = default_codec(model, device)

    def convert(data: bytes, destination: str) -> bytes:
        with Image.open(io.BytesIO(data)) as image:
            return codec.compress(image, arguments.of(image))

    return _run(jobs, convert, "Compressing", workers, force)


def run_decompress(
    paths: Sequence[str], model: str | None, device: str, workers: int, picture_format: str | None, force: bool
) -> int:
    """Decompress every source; returns how many failed. Raises typer.BadParameter: paths or format make no sense."""
    Image.init()
    by_suffix = Image.registered_extensions()
    suffix = f".{(picture_format or 'png').lower().lstrip('.')}"
    if by_suffix.get(suffix) not in Image.SAVE:
        raise typer.BadParameter(f"{picture_format} is not a picture format that can be written")
    jobs = plan(paths, {EXTENSION}, suffix, lambda name: name != EXTENSION and by_suffix.get(name) in Image.SAVE)

    def convert(data: bytes, destination: str) -> bytes:
        image = decoding_codec(data, model, device).decompress(data)
        chosen = suffix if picture_format or destination == STANDARD else Path(destination).suffix.lower()
        metadata = {key: image.info[key] for key in ("exif", "icc_profile") if key in image.info}
        buffer = io.BytesIO()
        image.save(buffer, by_suffix[chosen], **metadata)
        return buffer.getvalue()

    return _run(jobs, convert, "Decompressing", workers, force)


def describe_stream(path: str) -> dict[str, Any]:
    """What a stream's container says, by name; sizes in bytes. Raises BitstreamError."""
    with _named(path):
        data = _read(path)
        stream = Stream.unpack(data)
    r = stream.sections.get(Section.QUALITY_MAP)
    quality = None if r is None else _quality(r)
    sections = {NAMES.get(tag, f"unknown {tag}"): len(content) for tag, content in stream.sections.items()}
    return {
        "file": path,
        "width": stream.width,
        "height": stream.height,
        "mode": stream.mode,
        "model": stream.fingerprint.hex(),
        **({} if quality is None else {"quality": quality}),
        "bytes": len(data),
        "bpp": round(8 * len(data) / (stream.width * stream.height), 4),
        "sections": sections | {"container": len(data) - sum(sections.values())},
    }


def _quality(r: bytes) -> float | str:
    """The quality that an even quality map was coded at."""
    if len(r) != 1:
        return "by region"
    return round(r_to_quality(int.from_bytes(r, "little", signed=True) / STEPS), 1)


def plan(paths: Sequence[str], suffixes: set[str], suffix: str, is_destination: Callable[[str], bool]) -> list[Job]:
    """Sources and destinations meant by `SOURCE... [DESTINATION]`, as cp and mv understand them.

    suffixes: of the files to take from folders; suffix: of what is written; is_destination: whether a file may be
    written under a name with that suffix. Raises typer.BadParameter.
    """
    *sources, destination = paths if len(paths) > 1 else [*paths, ""]
    several = len(sources) > 1 or Path(sources[0]).is_dir()
    if sources[0] == STANDARD and destination in ("", STANDARD):
        return [(STANDARD, STANDARD)]
    if STANDARD in sources and (several or Path(destination).is_dir()):
        raise typer.BadParameter("standard input goes to one file or to standard output")
    if destination == STANDARD and several:
        raise typer.BadParameter("only one file can go to standard output")
    to_file = destination not in ("", STANDARD) and not several and not Path(destination).is_dir()
    if to_file and not destination.endswith("/"):
        if not is_destination(Path(destination).suffix.lower()):
            raise typer.BadParameter(
                f"{destination} cannot be the destination: its name must end in {suffix} or the like"
            )
        return [(sources[0], destination)]
    if destination == STANDARD:
        return [(sources[0], STANDARD)]
    if destination and Path(destination).is_file():
        raise typer.BadParameter(f"{destination}, the last path, is where to write, so it must be a folder")
    jobs = [
        (str(file), str((Path(destination) / file.relative_to(base) if destination else file).with_suffix(suffix)))
        for source in sources
        for file, base in _files(Path(source), suffixes)
    ]
    _refuse_collisions(jobs)
    return jobs


def _files(source: Path, suffixes: set[str]) -> Iterator[tuple[Path, Path]]:
    """The files meant by a source, each with the folder that its destination is relative to."""
    if not source.is_dir():
        yield source, source.parent
        return
    found = sorted(file for file in source.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not found:
        raise typer.BadParameter(
            f"{source} holds no {'pictures' if len(suffixes) > 1 else next(iter(suffixes)) + ' files'}"
        )
    for file in found:
        yield file, source


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    taken: dict[str, str] = {}
    for source, destination in jobs:
        if destination in taken:
            raise typer.BadParameter(f"{taken[destination]} and {source} would both be written to {destination}")
        taken[destination] = source


def _run(jobs: Sequence[Job], convert: Conversion, description: str, workers: int, force: bool) -> int:
    """Do every job; complain on stderr of those that fail, and return their number."""

    def work(source: str, destination: str) -> None:
        with _named(source):
            if destination != STANDARD and Path(destination).exists() and not force:
                raise BalleLiError(f"{destination} exists; --force overwrites it")
            data = convert(_read(source), destination)
            if destination == STANDARD:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                write_bytes(destination, data)

    failed = 0
    with ThreadPoolExecutor(workers) as pool, _progress(description, len(jobs)) as advance:
        try:
            for future in as_completed([pool.submit(work, *job) for job in jobs]):
                error = future.exception()
                if isinstance(error, BalleLiError):
                    typer.echo(f"balle-li: {error}", err=True)
                    failed += 1
                elif error is not None:
                    raise error
                advance(1)
        except BaseException:  # Ctrl-C too: finish the pictures in work, begin no other
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    if total > 1:
        with progress(description, total, "pictures") as advance:
            yield advance
    else:
        yield lambda done: None


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Turn what reading, decoding or writing a file can raise into a BalleLiError that names the file."""
    name = "standard input" if source == STANDARD else source
    try:
        yield
    except BalleLiError as error:
        raise type(error)(f"{name}: {error}") from error
    except UnidentifiedImageError:
        raise BalleLiError(f"{name}: not a picture in a format that Pillow knows") from None
    except Image.DecompressionBombError:
        raise BalleLiError(f"{name}: more than 2^28 pixels; cut the picture") from None
    except OSError as error:
        raise BalleLiError(f"{name}: {error.strerror or error}") from error
    except (SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise these for broken files
        raise BalleLiError(f"{name}: the picture is damaged ({error})") from error


def _read(source: str) -> bytes:
    if source == STANDARD:
        data = sys.stdin.buffer.read(MAX_STREAM_BYTES + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise BalleLiError("more than 2 GiB; cut the picture")
    return data
