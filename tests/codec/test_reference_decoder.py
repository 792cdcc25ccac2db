"""docs/bitstream.md suffices to decode, and says what the library does: a decoder written from it, in plain Python."""

import hashlib
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tiny_model import tiny_model, tiny_model_folder

from balle_li.codec.codec import Codec, choose_device
from balle_li.codec.entropy_coder import EntropyCoder
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.tables import MAX_ABSOLUTE_SYMBOL, Tables, integer_frequencies


def read_varint(data, position):
    value = shift = 0
    while True:
        octet = data[position]
        value, shift, position = value | (octet & 127) << shift, shift + 7, position + 1
        if octet < 128:
            return value, position


def reference_container(data):
    assert data[:5] == b"\xbaBLI\x01" and zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    width, position = read_varint(data, 14)
    height, position = read_varint(data, position)
    sections, tag = {}, 0
    while tag < 128:
        tag, position = data[position], position + 1
        length, position = read_varint(data, position) if tag < 128 else (len(data) - 4 - position, position)
        sections[tag % 128], position = data[position : position + length], position + length
    return width, height, sections


def reference_symbols(coded, frequencies, precision, count):
    coded += bytes(-len(coded) % 4)
    words = [int.from_bytes(coded[i : i + 4], "little") for i in range(0, len(coded), 4)]
    state = words.pop()
    if words:
        state = (state << 32) + words.pop()
    symbols = []
    for row in frequencies:
        k = [int(frequency) << (24 - precision) for frequency in row]
        for _ in range(count):
            q, s, cum = state % 2**24, 0, 0
            while q >= cum + k[s]:
                s, cum = s + 1, cum + k[s]
            state = (state >> 24) * k[s] + q - cum
            if state < 2**32 and words:
                state = (state << 32) + words.pop()
            symbols.append(s)
    assert state == 2**31 and not words
    return symbols


def reference_values(coded, outside, tables, count):
    rows = [tables.frequencies[c, :length] for c, length in enumerate(tables.length)]
    values, position = [], 0
    for index, symbol in enumerate(reference_symbols(coded, rows, tables.precision, count)):
        length, offset = int(tables.length[index // count]), int(tables.offset[index // count])
        if symbol == length - 1:
            v, position = read_varint(outside, position)
            values.append(offset - (v + 1) // 2 if v % 2 else offset + length - 1 + v // 2)
        else:
            values.append(offset + symbol)
    assert position == len(outside)
    return np.array(values).reshape(-1, count)


def test_a_stream_decodes_by_the_specification_alone():
    model = tiny_model()
    codec = Codec(model, choose_device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    data = codec.compress(Image.fromarray(pixels))
    width, height, sections = reference_container(data)
    assert (width, height) == (70, 50)
    values = reference_values(sections[1], sections.get(2, b""), model.tables("y"), 4 * 5)
    assert 2 in sections, "the test must reach the escapes"
    assert np.array_equal(values, codec.decode_latents(data).reshape(len(values), -1))


def test_the_fingerprint_is_the_specified_hash(tmp_path):
    folder = tiny_model_folder(tmp_path, "balle-li")
    description = json.loads((folder / "model.json").read_text())
    encoder = ("g_a", "features", "latents", "importance")
    needed = {"downsampling": 16, "tables": {"y": {"kind": "factorized", "precision": 16}}}
    needed["networks"] = {name: layers for name, layers in description["networks"].items() if name not in encoder}
    text = json.dumps(needed, sort_keys=True, separators=(",", ":")).encode()
    for name, array in sorted(load_file(folder / "model.safetensors").items()):
        if name.split(".")[0] not in encoder:
            kind = "<i4" if array.dtype == np.int32 else "<f4"
            text += f"{name} {kind} {array.shape}".encode() + array.astype(kind).tobytes()
    assert ModelFolder.load(folder).fingerprint == hashlib.sha256(text).digest()[:8]


@pytest.mark.parametrize("precision", [8, 16, 24])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 20000.0])
def test_any_values_decode_by_the_specification(precision, spread):
    random = np.random.default_rng(1)
    length = np.array([2, 3, 60, 200])
    pmf = random.random((4, 200)) ** 8
    offset = np.array([0, -1, -30, -100], dtype=np.int32)
    tables = Tables(integer_frequencies(pmf, length, precision), offset, length.astype(np.int32), precision)
    values = random.laplace(0, spread, (4, 300)).clip(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL).round().astype(int)
    coded, outside = EntropyCoder(tables).encode(values)
    assert np.array_equal(reference_values(coded, outside, tables, 300), values)
    assert np.array_equal(EntropyCoder(tables).decode(coded, outside, 300), values)
