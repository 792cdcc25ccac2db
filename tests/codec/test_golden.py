"""Files written by earlier versions decode for ever. These were made by golden/make.py and must not be made again."""

import hashlib
import json
from pathlib import Path

import pytest

from balle_li.codec.bitstream import Extra, Stream
from balle_li.codec.codec import Codec
from balle_li.latents import Section

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = [GOLDEN / name for name in ("balle", "balle-li", "balle-li-roi")]
STREAMS = [
    (folder, name, expected)
    for folder in FOLDERS
    for name, expected in json.loads((folder / "expected.json").read_text()).items()
]


@pytest.mark.parametrize(("folder", "name", "expected"), STREAMS)
def test_a_golden_stream_decodes_to_its_latents(folder, name, expected):
    codec = Codec.load(folder / "model")
    data = (folder / f"{name}.bli").read_bytes()
    latents = codec.decode_latents(data)
    assert list(latents.shape) == expected["latents"]
    assert hashlib.sha256(latents.astype("<i2").tobytes()).hexdigest() == expected["sha256"]
    image = codec.decompress(data)
    assert list(image.size) == expected["size"] and image.mode == expected["mode"]


def test_golden_streams_hold_every_section():
    found = {
        tag for folder, name, _ in STREAMS for tag in Stream.unpack((folder / f"{name}.bli").read_bytes()).sections
    }
    assert found == {*Section, *Extra} - {Section.SYMBOL_CHECKSUM}, (
        "that one is of models whose streams need not decode elsewhere"
    )
