"""docs/bitstream.md suffices to decode, and says what the library does: a decoder written from it, in plain Python."""

import hashlib
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tiny_model import silenced, tiny_model_folder

from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.latents.entropy_coder import MAX_ABSOLUTE_SYMBOL, EntropyCoder, Tables, integer_frequencies


def read_varint(data, position):
    value = shift = 0
    while True:
        octet = data[position]
        value, shift, position = value | (octet & 127) << shift, shift + 7, position + 1
        if octet < 128:
            return value, position


def reference_container(data):
    assert data[:5] == b"\xbaBLI\x02" and zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
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

    def __init__(self, coded, escaped, tables):
        rows = [tables.frequencies[c, :length] for c, length in enumerate(tables.length)]
        self.tables, self.escaped, self.position = tables, escaped, 0
        self.symbols = reference_symbols(coded, rows, tables.precision)
        next(self.symbols)

    def value(self, c):
        symbol, length, offset = self.symbols.send(c), int(self.tables.length[c]), int(self.tables.offset[c])
        if symbol != length - 1:
            return offset + symbol
        v, self.position = read_varint(self.escaped, self.position)
        return offset - (v + 1) // 2 if v % 2 else offset + length - 1 + v // 2

    def finish(self):
        self.symbols.send(None)
        assert self.position == len(self.escaped)


def reference_values(coded, escaped, tables, counts):
    """The values of all tables, one after another; `counts` of each."""
    decoder = ReferenceValues(coded, escaped, tables)
    values = [decoder.value(c) for c, count in enumerate(counts) for _ in range(count)]
    decoder.finish()
    return np.array(values)


def reference_hyper_latent(coded, escaped, tables, channels, rows, columns):
    """z and, as the last channel, which positions are quiet."""
    decoder, z = ReferenceValues(coded, escaped, tables), np.zeros((channels + 1, rows, columns), int)
    parts = [[(0, column)] for column in range(columns)] + [
        [(row, c) for c in range(columns)] for row in range(1, rows)
    ]
    for part in parts:
        found, classes = {}, {}
        for row, column in part:
            if row > 0:
                places = [(row - 1, min(max(column + d, 0), columns - 1)) for d in (0, -1, 1)]
            else:
                places = [(0, max(column - d, 0)) for d in (1, 2)]
            before, *others = (z[:, *place] for place in places)
            settled = [all(other[c] == before[c] for other in others) for c in range(channels + 1)]
            for c in range(channels + 1):
                e = int(settled[c]) + int(all(settled[:-1]))
                classes[c, row, column] = 51 if row == column == 0 else 17 * e + 8 + max(-8, min(8, before[c]))
        for c, row, column in sorted(classes):
            found.setdefault(52 * c + classes[c, row, column], []).append((c, row, column))
        for table in sorted(found):
            for place in found[table]:
                z[place] = decoder.value(table)
    decoder.finish()
    return z[:-1], z[-1] != 0


def reference_levels(section, rows, columns):
    if len(section) == 1:
        return np.full((rows, columns), int.from_bytes(section, "little", signed=True))
    differences = np.frombuffer(zlib.decompress(section), np.int8).reshape(rows, columns)
    return np.cumsum(differences, axis=0, dtype=np.int8).astype(int)


H_S = {0: "deconv", 1: "relu", 2: "conv", 3: "relu", 4: "conv"}  # of balle-li-roi; a deconv doubles both sides
H_C = {0: "conv", 1: "relu", 2: "conv"}


def reference_integer_network(name, layers, tensors, values):
    """`values`: (C, h, w) Python integers in an array of objects, so that nothing can overflow or round."""
    for index, kind in layers.items():
        values = np.clip(values, -(2**23), 2**23)
        if kind == "relu":
            values = np.maximum(values, 0)
            continue
        weight, bias, shift = (tensors[f"tables.{name}.{index}.{part}"] for part in ("weight", "bias", "shift"))
        assert weight.dtype == bias.dtype == shift.dtype == np.int32 and shift.shape == (1,)
        weight, stride, kernel = weight.astype(object), 2 if kind == "deconv" else 1, weight.shape[-1]
        padding = kernel // 2
        height, width = values.shape[1] * stride, values.shape[2] * stride
        out = np.zeros((len(bias), height, width), object) + bias.astype(object)[:, None, None]
        border = min(1, padding)
        values = reference_border(values, kind) if border else values
        for i, j, u, v in np.ndindex(*values.shape[1:], kernel, kernel):
            row, column = i - border, j - border
            if kind == "deconv":
                y, x, taps = row * stride + u - padding, column * stride + v - padding, weight[:, :, u, v].T
            else:
                y, x, taps = row - u + padding, column - v + padding, weight[:, :, u, v]
            if 0 <= y < height and 0 <= x < width:
                out[:, y, x] += taps @ values[:, i, j]
        values = (out + 2 ** int(shift[0]) // 2) // 2 ** int(shift[0])
    return np.clip(values, -(2**23), 2**23)


def reference_border(values, kind):
    """A row and a column more on each side: of a deconv the outermost again, of h_c's conv the one next to it."""
    for axis in (1, 2):
        sides = [(0, 0), (0, 0), (0, 0)]
        sides[axis] = (1, 1)
        mirrored = "reflect" if values.shape[axis] > 1 else "constant"
        values = np.pad(values, sides, mode="edge" if kind == "deconv" else mirrored)
    return values


def tables_of(tensors, latent):
    names = ("frequencies", "offset", "length")
    return Tables(*(tensors[f"tables.{latent}.{name}"] for name in names), precision=16)


def coded_picture(folder, **options):
    """The codec of a model folder, a stream of it, and the tensors that a reference decoder reads."""
    codec = Codec.load(folder, "cpu")
    return codec, noise(codec, **options), load_file(folder / "model.safetensors")


def noise(codec, **options):
    """A stream of squares of random colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return codec.compress(Image.fromarray(pixels).resize((70, 50), Image.Resampling.NEAREST), **options)


def test_a_stream_decodes_by_the_specification_alone(tmp_path):
    codec, data, tensors = coded_picture(tiny_model_folder(tmp_path))
    width, height, sections = reference_container(data)
    assert (width, height) == (70, 50)
    values = reference_values(sections[1], sections.get(2, b""), tables_of(tensors, "y"), [4 * 5] * 8)
    assert 2 in sections, "the test must reach the escapes"
    assert np.array_equal(values, codec.decode_latents(data).reshape(-1))
    expected = values.reshape(8, 4, 5) + tensors["tables.y.median"][:, None, None]
    np.testing.assert_allclose(codec.latents.decode(sections, 4, 5).values, expected, rtol=1e-5, atol=1e-6)


def reference_order(levels: int):
    """(stride, targets, known) of each step: which rows and columns of its grid are coded in it, and which before it."""
    order = [(2**levels, lambda i, j: True, None)]
    for level in reversed(range(levels)):
        order.append((2**level, lambda i, j: i % 2 == j % 2 == 1, lambda i, j: i % 2 == j % 2 == 0))
        order.append((2**level, lambda i, j: (i + j) % 2 == 1, lambda i, j: (i + j) % 2 == 0))
    return order


@pytest.mark.parametrize(("model_levels", "silent"), [(1, 0), (2, 4), (5, 0), (5, 2)])
def test_a_conditional_stream_decodes_by_the_specification_alone(tmp_path, monkeypatch, model_levels, silent):
    folder = tiny_model_folder(tmp_path, "balle-li-roi", levels=model_levels)
    codec, _, tensors = coded_picture(folder)
    prepare = codec.latents.prepare
    monkeypatch.setattr(codec.latents, "prepare", lambda y, r: silenced(codec.latents, prepare(y, r), silent))
    data = noise(codec, quality=60, boxes=[Box(0.1, 0.2, 0.6, 0.9, "face")])
    _, _, sections = reference_container(data)
    rows, columns, z_channels, M, context_channels = 4, 5, 2, 32, 6  # N = 8
    levels = reference_levels(sections[5], rows, columns)
    assert len(np.unique(levels)) > 2
    assert 4 in sections and 2 in sections, "the test must reach the escapes"
    z, quiet = reference_hyper_latent(sections[3], sections[4], tables_of(tensors, "z"), z_channels, 2, 3)
    assert len(np.unique(z)) > 3 and quiet[:, : silent // 2].all() and not quiet[:, silent // 2 :].any()
    median = (256 * tensors["tables.z.median"]).astype(int)[:, None, None]
    r = np.pad(levels, ((0, 0), (0, 1)), mode="edge") * 32
    entering = [*(256 * z + median), *(r[i::2, j::2] for i in (0, 1) for j in (0, 1))]
    leaving = reference_integer_network("h_s", H_S, tensors, np.array(entering).astype(object))[:, :rows, :columns]
    tables = tables_of(tensors, "y")
    decoder = ReferenceValues(sections[1], sections[2], tables)
    symbols = np.zeros((M, rows, columns), int)
    prior, used = leaving.copy(), set()
    for stride, targets, known in reference_order(model_levels):
        at = np.s_[:, ::stride, ::stride]
        shape = symbols[at].shape[1:]
        now = np.array([[targets(i, j) for j in range(shape[1])] for i in range(shape[0])])
        if known is not None:
            before = np.array([[known(i, j) for j in range(shape[1])] for i in range(shape[0])])
            planes = np.zeros((2, *shape), int)
            planes[int(stride > 1)] = 256 * before
            # What is decoded, less the mean of h_s.
            entering = (256 * symbols + leaving[:M] - prior[:M])[:context_channels][at] * before
            more = reference_integer_network("h_c", H_C, tensors, np.concatenate((entering, planes)).astype(object))
            assert more[:, now].any() or not now.any()
            leaving[at] = leaving[at] + more * now
        table = np.zeros((M, rows, columns), int)
        coded = now & ~quiet.repeat(2, axis=0).repeat(2, axis=1)[:rows, :columns][at[1:]]
        table[at] = np.clip((leaving[M:][at] + 128) // 256, 0, tables.rows - 1).astype(int) * coded
        for t in range(1, tables.rows):
            for place in zip(*np.nonzero(table == t), strict=True):
                symbols[place] = decoder.value(t)
        used |= set(table[at][:, now].flatten())
    decoder.finish()
    assert len(used) > 3 and 0 in used
    assert np.array_equal(symbols, codec.decode_latents(data))
    mean = (leaving[:M] / 256).astype(np.float32)
    gain = np.exp(tensors["tables.decoder_gain"][:, None, None] * levels / 8)
    np.testing.assert_allclose(codec.latents.decode(sections, rows, columns).values, (symbols + mean) * gain, rtol=1e-5)


@pytest.mark.parametrize("name", ["balle-li", "balle-li-roi"])
def test_the_fingerprint_is_the_specified_hash(tmp_path, name):
    folder = tiny_model_folder(tmp_path, name)
    description = json.loads((folder / "model.json").read_text())
    needed = {"format": 3, "model": description["model"]}
    text = json.dumps(needed, sort_keys=True, separators=(",", ":")).encode()
    for tensor, array in sorted(load_file(folder / "model.safetensors").items()):
        if tensor.startswith(("g_s.", "tables.")):
            kind = "<i4" if array.dtype == np.int32 else "<f4"
            text += f"{tensor} {kind} {array.shape}".encode() + array.astype(kind).tobytes()
    fingerprint = hashlib.sha256(text).digest()[:8]
    assert ModelFolder.load(folder).fingerprint == fingerprint
    _, data, _ = coded_picture(folder)
    assert data[6:14] == fingerprint


@pytest.mark.parametrize("precision", [8, 16, 24])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 20000.0])
def test_any_values_decode_by_the_specification(precision, spread):
    random = np.random.default_rng(1)
    length = np.array([2, 3, 60, 200])
    pmf = random.random((4, 200)) ** 8
    offset = np.array([0, -1, -30, -100], dtype=np.int32)
    tables = Tables(integer_frequencies(pmf, length, precision), offset, length.astype(np.int32), precision)
    values = random.laplace(0, spread, (4, 300)).clip(-MAX_ABSOLUTE_SYMBOL, MAX_ABSOLUTE_SYMBOL).round().astype(int)
    coded, escaped = EntropyCoder(tables).encode(values)
    assert np.array_equal(reference_values(coded, escaped, tables, [300] * 4), values.reshape(-1))
    assert np.array_equal(EntropyCoder(tables).decode(coded, escaped, 300), values)
