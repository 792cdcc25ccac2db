"""Photographs through the weights that ship: the command, Python and Pillow write the same bytes and read the same pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import balle_li  # noqa: F401  registers the Pillow plugin
from balle_li.codec.codec import Codec
from balle_li.files import released_model
from balle_li.interfaces.cli import app


@pytest.mark.parametrize("folder", ["kodak", "labelled-photos/images/test"])
def test_every_way_gives_the_same_bytes_and_pixels(shared: Path, tmp_path: Path, folder: str) -> None:
    pictures = sorted(path for path in (shared / folder).iterdir() if path.suffix in (".png", ".jpg"))
    assert len(pictures) >= 20
    pictures = pictures[::3]
    streams, back = tmp_path / "streams", tmp_path / "back"
    for command in (
        ["compress", *map(str, pictures), str(streams) + "/"],
        ["decompress", str(streams), str(back)],
    ):
        done = CliRunner().invoke(app, [*command, "--model", str(released_model())])
        assert done.exit_code == 0, done.output
    codec = Codec.load(released_model())
    for path in pictures:
        data = (streams / f"{path.stem}.bli").read_bytes()
        by_pillow = tmp_path / "pillow.bli"
        with Image.open(path) as image:
            assert codec.compress(image) == data, path.name
            image.save(by_pillow, model=released_model())
        assert by_pillow.read_bytes() == data, path.name
        pixels = np.asarray(codec.decompress(data))
        for written in (by_pillow, back / f"{path.stem}.png"):
            with Image.open(written) as decoded:
                assert np.array_equal(np.asarray(decoded), pixels), written.name
