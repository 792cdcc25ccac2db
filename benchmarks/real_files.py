"""Files as people have them, through the command: each must end in a picture that opens, or in one line that says why not.

    python benchmarks/real_files.py FOLDER... [--limit 200] [--formats png jpg tif webp avif] [--model FOLDER]

Every file below the folders, picture or not, goes through `balle-li compress`, and its stream through `balle-li decompress`
to each format. What was written is opened by Pillow alone: its size must be that of the upright original, and the tags, the
ICC profile, the XMP packet and the resolution that Pillow finds in the original must be there, unless the format has no place for
them or the command said that they are left out. One line is also right where a format has no transparency, or not so many pixels.
Prints what became of the files, by format, and exits with 1 if any ended otherwise. The model is the tests' smallest: it is not
the pixels that count.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import ExifTags, Image, ImageOps

from balle_li.interfaces import cli
from balle_li.progress import progress

MODEL = Path(__file__).parents[1] / "tests" / "codec" / "golden" / "balle-li-roi" / "model"
FORMATS = ("png", "jpg", "tif", "webp", "avif")
COMPRESSED = "compress"
PICTURE, SAID, LINE, FAILURE = "a picture", "a picture, and said what is left out", "one line", "FAILURE"

LIMITS = ("holds no transparency", "does not hold such", "cannot be written as")

TAGS = ("Make", "Model", "Software", "DateTime", "Artist", "ImageDescription")
NO_RESOLUTION = ("webp", "avif")
SUBJECTS = {"ICC profile": "icc", "EXIF": "tags", "XMP": "xmp"}
"""What the command calls the parts of a picture's metadata, and what `facts` does."""


def command(*arguments: object) -> tuple[int, list[str]]:
    """Run `balle-li` in this process: its exit code and the lines on standard error. Whatever it raises goes through."""
    errors = io.StringIO()
    before, sys.argv = sys.argv, ["balle-li", *map(str, arguments)]
    try:
        with contextlib.redirect_stderr(errors):
            cli.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    else:
        code = 0
    finally:
        sys.argv = before
    return code, errors.getvalue().splitlines()


def facts(path: Path) -> dict[str, Any]:
    """Size, tags, ICC profile, XMP and resolution of a file, as far as Pillow alone can tell them."""
    with Image.open(path) as image:
        colour_space = image.mode
        try:
            image.load()
            exif = image.getexif()
            tags = {name: str(exif[tag]).strip("\0 ") for name in TAGS if (tag := ExifTags.Base[name]) in exif}
            upright = ImageOps.exif_transpose(image)
        except Exception:  # damaged EXIF: the size is the stored one, turned or not
            tags, upright = {}, None
        size = image.size if upright is None else upright.size
        return {
            "size": {size} if upright is not None else {size, size[::-1]},
            "tags": tags,
            "icc": image.info.get("icc_profile") if colour_space not in ("CMYK", "YCbCr", "LAB") else None,
            "xmp": bool(image.info.get("xmp")),
            "dpi": [round(float(dots)) for dots in image.info.get("dpi", ())],
        }


def difference(original: dict[str, Any], path: Path, said: Sequence[str]) -> str | None:
    """What is wrong with the file that was written of `original`; None if nothing is."""
    found = facts(path)
    if not found["size"] & original["size"]:
        return f"its size is {found['size']}, not {original['size']}"
    excused = {part for name, part in SUBJECTS.items() for line in said if name in line or "metadata" in line}
    for part in ("icc", "xmp"):
        if original[part] and found[part] != original[part] and part not in excused:
            return f"its {part} is lost"
    lost = {name for name, value in original["tags"].items() if value and found["tags"].get(name) != value}
    if lost and "tags" not in excused:
        return f"its tags {', '.join(sorted(lost))} are lost or changed"
    wanted = original["dpi"]
    if wanted and min(wanted) > 1 and path.suffix[1:] not in NO_RESOLUTION and found["dpi"] != wanted:
        return f"its resolution is {found['dpi']}, not {wanted}"
    return None


def outcomes(file: Path, model: Path, formats: Sequence[str], folder: Path) -> Iterator[tuple[str, str, str]]:
    """(compress or the format, what became of it, the reason if it failed) of one file, through files in `folder`."""
    stream = folder / "stream.bli"
    try:
        code, said = command(COMPRESSED, file, stream, "--force", "--model", model)
    except Exception as error:
        yield COMPRESSED, FAILURE, f"{type(error).__name__}: {error}"
        return
    if code:
        fine = code == 1 and len(said) == 1 and said[0].startswith("balle-li: ")
        yield COMPRESSED, LINE if fine else FAILURE, "" if fine else f"exit {code}: {said}"
        return
    yield COMPRESSED, SAID if said else PICTURE, ""
    original = facts(file)
    for name in formats:
        written = folder / f"picture.{name}"
        try:
            code, more = command("decompress", stream, written, "--force", "--model", model)
            wrong = None if code else difference(original, written, said + more)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong is not None:
            yield name, FAILURE, wrong
        elif code:
            fine = code == 1 and len(more) == 1 and any(reason in more[0] for reason in LIMITS)
            yield name, LINE if fine else FAILURE, "" if fine else f"exit {code}: {more}"
        else:
            yield name, SAID if more else PICTURE, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, help="the first so many files")
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--model", type=Path, default=MODEL)
    arguments = parser.parse_args()
    files = sorted(file for folder in arguments.folders for file in folder.rglob("*") if file.is_file())[
        : arguments.limit
    ]
    warnings.simplefilter("ignore")  # Pillow warns of odd metadata
    pillow_heif.register_heif_opener()
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder, progress("Converting", len(files), "files") as advance:
        for file in files:
            for step, outcome, reason in outcomes(file, arguments.model, arguments.formats, Path(folder)):
                counts[step, outcome] += 1
                if outcome == FAILURE:
                    failures.append(f"{file}: {step}: {reason}")
            advance(1)
    print(f"{'':10}" + "".join(f"{outcome:>38}" for outcome in (PICTURE, SAID, LINE, FAILURE)))
    for step in (COMPRESSED, *arguments.formats):
        print(f"{step:10}" + "".join(f"{counts[step, outcome]:38}" for outcome in (PICTURE, SAID, LINE, FAILURE)))
    print(f"{len(files)} files, {len(failures)} failures", *failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
