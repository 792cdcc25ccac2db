"""The command `balle-li`: compress, decompress, info, models, demo."""

import json
import os
import sys
from typing import Annotated, Any

import typer

from balle_li import __version__
from balle_li.errors import BalleLiError, in_one_line
from balle_li.progress import silent

app = typer.Typer(
    name="balle-li",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE... [DESTINATION]",
        help="Files or folders, then where to write: a file for one file, else a folder. `-` is standard input or output. "
        "Without a destination, files are written beside their sources.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Model folder, or models:/NAME@ALIAS in MLflow's registry. "
        "Default: $BALLE_LI_MODEL, else the model that ships with balle-li; to decompress also data/04_models/model.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, gpu, or a torch device such as cuda:1.")]
Workers = Annotated[int, typer.Option(min=1, help="Pictures in work at once.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="DESTINATION", help="Where to write, in place of a last path.", show_default=False
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"balle-li {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Compress pictures to .bli files with a trained model, and back."""


@app.command()
def compress(
    paths: Paths,
    quality: Annotated[
        float | None, typer.Option(min=0, max=100, help="0 to 100, 50 unless told.", show_default=False)
    ] = None,
    target_bpp: Annotated[
        float | None, typer.Option(help="The best quality within so many bits per pixel.", show_default=False)
    ] = None,
    target_size: Annotated[
        str | None, typer.Option(help="The best quality within a size: 12000, 12k, 1.5M bytes.", show_default=False)
    ] = None,
    boxes: Annotated[
        list[str] | None,
        typer.Option(
            help="A region that counts more, x0,y0,x1,y1[,weight], in pixels, or as fractions of the picture where none "
            "exceeds 1; or a JSON file with a list of them. Several times if need be.",
            show_default=False,
        ),
    ] = None,
    quality_map: Annotated[
        str | None,
        typer.Option(
            help="A grey picture, stretched over the picture: 128 changes nothing, lighter counts more, darker less.",
            show_default=False,
        ),
    ] = None,
    effort: Annotated[
        int, typer.Option(min=0, max=10, help="How long to fit the stream to the picture; decoding takes no longer.")
    ] = 0,
    tune: Annotated[
        str | None,
        typer.Option(
            help="What the model that ships is tuned for: ms-ssim, the default, or psnr. Not with --model.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    workers: Workers = 1,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out ICC profile, EXIF, XMP and resolution.")] = False,
    force: Force = False,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Compress pictures to .bli files."""
    from balle_li.interfaces.arguments import read_arguments
    from balle_li.interfaces.batch import run_compress

    arguments = read_arguments(quality, target_bpp, target_size, boxes or [], quality_map, effort, strip)
    paths = paths if output is None else [*paths, output]
    with silent(quiet):
        failed = run_compress(paths, model, tune, device, workers, force, arguments)
    _finish(failed)


@app.command()
def decompress(
    paths: Paths,
    model: Model = None,
    device: Device = "auto",
    workers: Workers = 1,
    format: Annotated[
        str | None,
        typer.Option(
            help="Picture format to write, such as png or webp; default: by the destination's name, else png.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Decompress .bli files to pictures."""
    from balle_li.interfaces.batch import run_decompress

    paths = paths if output is None else [*paths, output]
    with silent(quiet):
        failed = run_decompress(paths, model, device, workers, format, force)
    _finish(failed)


@app.command()
def info(
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Streams; `-` is standard input.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what a .bli file holds; needs no model."""
    from balle_li.interfaces.batch import describe_stream, refuse_empty

    refuse_empty(paths)
    failed = 0
    for path in paths:
        try:
            facts = describe_stream(path)
        except BalleLiError as error:
            _complain(str(error))
            failed += 1
            continue
        typer.echo(
            json.dumps(facts) if as_json else "\n".join(f"{key:12} {_plain(value)}" for key, value in facts.items())
        )
    _finish(failed)


@app.command()
def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Model folders or registry addresses; default: the default model."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show models: their name, fingerprint and size."""
    from balle_li.codec.model_folder import ModelFolder
    from balle_li.interfaces import model_folder

    failed = 0
    addresses: list[str | None] = [*names] if names else [None]
    for name in addresses:
        try:
            folder = model_folder(name)
            model = ModelFolder.load(folder)
        except BalleLiError as error:
            _complain(str(error))
            failed += 1
            continue
        facts: dict[str, Any] = {"folder": str(folder), "fingerprint": model.fingerprint.hex()}
        facts |= model.description["model"] | model.trained_for | {"downsampling": model.model.downsampling}
        facts["portable"] = model.model.latent_codec.portable
        facts["parameters"] = sum(weight.numel() for weight in model.model.parameters())
        typer.echo(json.dumps(facts) if as_json else "\n".join(f"{key:12} {value}" for key, value in facts.items()))
    _finish(failed)


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860 on.", show_default=False)
    ] = None,
    model: Model = None,
    device: Device = "auto",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open a page on this machine where you compress your own photograph. Needs the extra: pip install 'balle-li\\[demo]'."""
    from balle_li.demo.page import serve
    from balle_li.interfaces import VARIABLE, model_folder

    serve(model_folder(model) if model or os.environ.get(VARIABLE) else None, host, port, device, browser)


def main() -> None:
    """Entry point. Exit codes: 0 all done, 1 something failed (the rest is done), 2 the command was not understood."""
    from PIL import Image

    from balle_li.codec.bitstream import MAX_PIXELS

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice as many
    try:
        app()
    except BalleLiError as error:
        _complain(str(error))
        sys.exit(1)
    except OSError as error:  # such as of standard output, on a disk that is full
        _complain(in_one_line(error))
        sys.exit(1)
    finally:
        _leave_output()


def _finish(failed: int) -> None:
    if failed:
        raise typer.Exit(1)


def _leave_output() -> None:
    """Drop what standard output does not take: Python would try it again at the end, complain, and exit with 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {size}" for key, size in value.items())
    return str(value)


def _complain(message: str) -> None:
    typer.echo(f"balle-li: {message}", err=True)


if __name__ == "__main__":
    main()
