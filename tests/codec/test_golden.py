"""Files written by earlier versions decode for ever. These were made by golden/make.py and must not be made again."""

import hashlib
import json
from pathlib import Path

import pytest

from balle_li.codec.bitstream import Section, Stream
from balle_li.codec.codec import Codec

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_stream_decodes_to_its_latents(name):
    codec, expected = Codec.load(GOLDEN / "model"), EXPECTED[name]
    data = (GOLDEN / f"{name}.bli").read_bytes()
    latents = codec.decode_latents(data)
    assert list(latents.shape) == expected["latents"]
    assert hashlib.sha256(latents.astype("<i2").tobytes()).hexdigest() == expected["sha256"]
    image = codec.decompress(data)
    assert list(image.size) == expected["size"] and image.mode == expected["mode"]


def test_golden_streams_hold_every_section():
    found = {tag for name in EXPECTED for tag in Stream.unpack((GOLDEN / f"{name}.bli").read_bytes()).sections}
    assert found == set(Section)
