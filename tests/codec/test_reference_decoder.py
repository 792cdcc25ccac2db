"""docs/bitstream.md suffices to decode, and says what the library does: a decoder written from it, in plain Python."""

import hashlib
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tiny_model import tiny_model, tiny_model_folder

from balle_li.boxes import Box
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


def reference_symbols(coded, frequencies, precision):
    """Takes a table for each symbol, one at a time; when there are no more, all must have been decoded."""
    coded += bytes(-len(coded) % 4)
    words = [int.from_bytes(coded[i : i + 4], "little") for i in range(0, len(coded), 4)]
    state = words.pop()
    if words:
        state = (state << 32) + words.pop()
    ks = [[int(frequency) << (24 - precision) for frequency in row] for row in frequencies]
    table = yield
    while table is not None:
        k = ks[table]
        q, s, cum = state % 2**24, 0, 0
        while q >= cum + k[s]:
            s, cum = s + 1, cum + k[s]
        state = (state >> 24) * k[s] + q - cum
        if state < 2**32 and words:
            state = (state << 32) + words.pop()
        table = yield s
    assert state == 2**31 and not words
    yield None


class ReferenceValues:
    """Decodes values, one after the other, each with a table of its own."""

    def __init__(self, coded, outside, tables):
        rows = [tables.frequencies[c, :length] for c, length in enumerate(tables.length)]
        self.tables, self.outside, self.position = tables, outside, 0
        self.symbols = reference_symbols(coded, rows, tables.precision)
        next(self.symbols)

    def value(self, c):
        symbol, length, offset = self.symbols.send(c), int(self.tables.length[c]), int(self.tables.offset[c])
        if symbol != length - 1:
            return offset + symbol
        v, self.position = read_varint(self.outside, self.position)
        return offset - (v + 1) // 2 if v % 2 else offset + length - 1 + v // 2

    def finish(self):
        self.symbols.send(None)
        assert self.position == len(self.outside)


def reference_values(coded, outside, tables, counts):
    """The values of all tables, one after another; `counts` of each."""
    decoder = ReferenceValues(coded, outside, tables)
    values = [decoder.value(c) for c, count in enumerate(counts) for _ in range(count)]
    decoder.finish()
    return np.array(values)


def reference_levels(section, rows, columns):
    if len(section) == 1:
        return np.full((rows, columns), int.from_bytes(section, "little", signed=True))
    differences = np.frombuffer(zlib.decompress(section), np.int8).reshape(rows, columns)
    return np.cumsum(differences, axis=0, dtype=np.int8).astype(int)


def reference_integer_network(name, model, values):
    """`values`: (C, h, w) Python integers in an array of objects, so that nothing can overflow or round."""
    for index, layer in enumerate(model.description["integer_networks"][name]):
        values = np.clip(values, -(2**23), 2**23)
        if layer["type"] == "relu":
            values = np.maximum(values, 0)
            continue
        weight = model.tensors[f"{name}.{index}.weight"].numpy().astype(object)
        bias = model.tensors[f"{name}.{index}.bias"].numpy().astype(object)
        stride, padding, kernel = layer["stride"], layer["padding"], layer["kernel"]
        height, width = values.shape[1] * stride, values.shape[2] * stride  # of a deconv; a conv here has stride 1
        out = np.zeros((layer["out"], height, width), object) + bias[:, None, None]
        for row, column, u, v in np.ndindex(*values.shape[1:], kernel, kernel):
            if layer["type"] == "deconv":
                y, x, taps = row * stride + u - padding, column * stride + v - padding, weight[:, :, u, v].T
            else:
                y, x, taps = row - u + padding, column - v + padding, weight[:, :, u, v]
            if 0 <= y < height and 0 <= x < width:
                out[:, y, x] += taps @ values[:, row, column]
        half = 2 ** layer["shift"] // 2
        values = (out + half) // 2 ** layer["shift"]
    return np.clip(values, -(2**23), 2**23)


def test_a_stream_decodes_by_the_specification_alone():
    model = tiny_model()
    codec = Codec(model, choose_device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    data = codec.compress(Image.fromarray(pixels))
    width, height, sections = reference_container(data)
    assert (width, height) == (70, 50)
    values = reference_values(sections[1], sections.get(2, b""), model.tables("y"), [4 * 5] * 8)
    assert 2 in sections, "the test must reach the escapes"
    assert np.array_equal(values, codec.decode_latents(data).reshape(-1))


@pytest.mark.parametrize("context", [True, False])
def test_a_conditional_stream_decodes_by_the_specification_alone(context):
    model = tiny_model("balle-li-roi")
    if not context:
        del model.description["integer_networks"]["h_c"]
    codec = Codec(model, choose_device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    data = codec.compress(Image.fromarray(pixels), quality=60, boxes=[Box("face", 0.1, 0.2, 0.6, 0.9)])
    _, _, sections = reference_container(data)
    rows, columns, channels = 4, 5, 2
    levels = reference_levels(sections[5], rows, columns)
    assert len(np.unique(levels)) > 2
    z = reference_values(sections[3], sections.get(4, b""), model.tables("z"), [2 * 3] * channels)
    median = (256 * model.tensors["tables.z.median"].numpy()).astype(int)[:, None, None]
    r = np.pad(levels, ((0, 0), (0, 1)), mode="edge") * 32
    entering = [*(256 * z.reshape(channels, 2, 3) + median), *(r[i::2, j::2] for i in (0, 1) for j in (0, 1))]
    leaving = reference_integer_network("h_s", model, np.array(entering).astype(object))[:, :rows, :columns]
    decoder = ReferenceValues(sections[1], sections.get(2, b""), model.tables("y"))
    symbols = np.zeros((8, rows, columns), int)
    second = np.add.outer(np.arange(rows), np.arange(columns)) % 2
    used = set()
    for number, half in enumerate([second == 0, second == 1] if context else [second >= 0]):
        if number == 1:
            more = reference_integer_network("h_c", model, 256 * symbols[:4].astype(object))
            assert more[:, half].any()
            leaving = leaving + more * half
        table = np.clip((leaving[8:] + 128) // 256, 0, model.tables("y").rows - 1).astype(int) * half
        for t in range(1, model.tables("y").rows):
            for place in zip(*np.nonzero(table == t), strict=True):
                symbols[place] = decoder.value(t)
        used |= set(table[:, half].flatten())
    decoder.finish()
    assert len(used) > 3 and 0 in used
    assert np.array_equal(symbols, codec.decode_latents(data))
    mean = (leaving[:8] / 256).astype(np.float32)
    gain = np.exp(model.tensors["decoder_gain"].numpy()[:, None, None] * levels / 8)
    np.testing.assert_allclose(codec.latents.decode(sections, rows, columns).values, (symbols + mean) * gain, rtol=1e-5)


@pytest.mark.parametrize("name", ["balle-li", "balle-li-roi"])
def test_the_fingerprint_is_the_specified_hash(tmp_path, name):
    folder = tiny_model_folder(tmp_path, name)
    description = json.loads((folder / "model.json").read_text())
    encoder = ("g_a", "h_a", "features", "latents", "importance", "encoder_gain")
    parts = ["downsampling", "tables"] + ["importance", "integer_networks"] * (name == "balle-li-roi")
    needed = {part: description[part] for part in parts}
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
    assert np.array_equal(reference_values(coded, outside, tables, [300] * 4), values.reshape(-1))
    assert np.array_equal(EntropyCoder(tables).decode(coded, outside, 300), values)
