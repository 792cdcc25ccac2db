"""Conditional latents: their networks tile by tile, what the context may see, and what is coded."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import tiny_model

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents import conditional
from balle_li.latents.base import EntropyParameters
from balle_li.latents.conditional import ConditionalLatents, second_half
from balle_li.latents.gaussian import SCALES
from balle_li.latents.sections import Section

M = 24


@pytest.fixture(scope="module")
def latents() -> ConditionalLatents:
    found = tiny_model("balle-li-roi").model.latent_codec
    assert isinstance(found, ConditionalLatents)
    return found


def y_and_r(rows: int, columns: int, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    y = random.normal(0, 5, (M, rows, columns)).astype(np.float32)
    return y, random.integers(-16, 17, (rows, columns)).astype(np.int8)


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (8, 8), (13, 5)])
def test_tiles_give_the_whole_pictures_result(latents, monkeypatch, size):
    u, levels = y_and_r(*size)
    z = latents._hyper_analysis(u, levels)
    assert z.shape == (2, (size[0] + 1) // 2, (size[1] + 1) // 2) and z.std() > 0.3
    whole = latents._prior(z, levels)
    monkeypatch.setattr(conditional, "_TILE", 4)
    assert np.mean(latents._hyper_analysis(u, levels) != z) < 0.01  # a value on the edge of rounding may tip
    tiled = latents._prior(z, levels)
    assert np.array_equal(tiled.mean, whole.mean) and np.array_equal(tiled.index, whole.index)


def test_tiles_of_the_context_give_the_whole_pictures_result(latents, monkeypatch):
    symbols = np.random.default_rng(0).integers(-5, 6, (M, 9, 14)).astype(np.int16)
    prior = EntropyParameters(np.zeros(symbols.shape, np.float32), np.full(symbols.shape, 1000, np.int32))
    whole = latents._prior_of_second_half(prior, symbols)
    monkeypatch.setattr(conditional, "_TILE", 4)
    tiled = latents._prior_of_second_half(prior, symbols)
    assert np.array_equal(tiled.mean, whole.mean) and np.array_equal(tiled.index, whole.index)


def test_the_context_is_the_first_halfs_neighbours_and_moves_the_second_half(latents):
    symbols = np.zeros((M, 6, 6), np.int16)
    prior = EntropyParameters(np.zeros(symbols.shape, np.float32), np.zeros(symbols.shape, np.int32))
    nothing = latents._prior_of_second_half(prior, symbols)
    assert not nothing.mean[:, ~second_half(6, 6).numpy()].any()
    symbols[0, 2, 3] = 4
    assert np.array_equal(latents._prior_of_second_half(prior, symbols).mean, nothing.mean)
    symbols[0, 2, 2] = 30
    changed = (latents._prior_of_second_half(prior, symbols).mean != nothing.mean).any(axis=0)
    assert set(zip(*np.nonzero(changed), strict=True)) == {(1, 2), (2, 1), (2, 3), (3, 2)}


def test_the_quality_map_moves_the_prior(latents):
    z = np.zeros((2, 3, 3), np.int16)
    low, high = (latents._prior(z, np.full((6, 6), level, np.int8)) for level in (-16, 16))
    assert not np.array_equal(low.index, high.index)


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (6, 7)])
def test_what_is_encoded_is_decoded(latents, size):
    y, r = y_and_r(*size)
    prepared = latents.prepare(y, r)
    sections = latents.encode(prepared)
    assert list(sections)[-1] == Section.LATENTS
    decoded = latents.decode(sections, *size)
    assert np.array_equal(decoded.symbols, prepared.symbols())
    np.testing.assert_allclose(decoded.values, (decoded.symbols + prepared.mean) * prepared.gain, rtol=1e-6)


def test_table_zero_is_not_coded(latents):
    prepared = latents.prepare(*y_and_r(20, 20))
    assert len(np.unique(prepared.table)) > 20 and (prepared.table == 0).any()
    assert not prepared.symbols()[prepared.table == 0].any()
    assert latents.bits(prepared).sum() / 8 < sum(map(len, latents.encode(prepared).values()))


def test_requantized_moves_the_second_half_with_the_first(latents):
    y, r = y_and_r(8, 8)
    prepared = latents.prepare(y, r)
    values = prepared.residual + prepared.mean
    again = latents.requantized(prepared, values)
    assert np.array_equal(again.residual, prepared.residual) and np.array_equal(again.table, prepared.table)
    seen = prepared.coded[: latents.context_channels, 2:6, 2:6] & ~second_half(4, 4).numpy()
    channel, row, column = (int(places[0]) for places in np.nonzero(seen))
    values[channel, row + 2, column + 2] += 9
    moved = latents.requantized(prepared, values)
    changed = (moved.mean != prepared.mean).any(axis=0)
    neighbours = {(row + 1, column + 2), (row + 3, column + 2), (row + 2, column + 1), (row + 2, column + 3)}
    assert set(zip(*np.nonzero(changed), strict=True)) == neighbours


def test_tables_are_counted_on_what_is_coded():
    latents = tiny_model("balle-li-roi").model.latent_codec
    y, r = y_and_r(30, 30)
    plain = latents.make_tables([])
    before = len(latents.encode(latents.prepare(y, r))[Section.LATENTS])
    counted = latents.make_tables([(y, r)])
    after = len(latents.encode(latents.prepare(y, r))[Section.LATENTS])
    assert after < 0.97 * before
    assert not torch.equal(plain["y.frequencies"], counted["y.frequencies"])
    assert torch.equal(plain["h_s.0.weight"], counted["h_s.0.weight"])


def test_importance_is_the_mean_scale_index(latents):
    prepared = latents.prepare(*y_and_r(5, 4))
    expected = prepared.table.astype(float).mean(axis=0) / (SCALES / 2)
    np.testing.assert_allclose(latents.importance(prepared), expected.clip(0, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"h_s.0.weight": lambda t: t.float()}, r"tables\.h_s\.0\.weight must be int32"),
        ({"h_s.0.weight": lambda t: t + 2**28}, r"2\^53"),
        ({"h_s.0.shift": lambda t: t + 25}, "shift"),
        ({"h_c.2.bias": lambda t: None}, r"tables\.h_c\.2\.bias"),
        ({"decoder_gain": lambda t: t[:-1]}, "decoder_gain"),
        ({"decoder_gain": lambda t: t / 0}, "decoder_gain"),
        ({"z.median": lambda t: t[:-1]}, r"tables\.z\.median"),
        ({"y.length": lambda t: None}, r"tables\.y\.length is missing"),
        ({"y.frequencies": lambda t: t + 1}, "sum to"),
    ],
)
def test_tables_that_do_not_fit_are_refused(change, words):
    folder = tiny_model("balle-li-roi")
    changed = {name: change[name](tensor) if name in change else tensor for name, tensor in folder.tables.items()}
    with pytest.raises(BalleLiError, match=words):
        folder.model.latent_codec.set_tables({name: tensor for name, tensor in changed.items() if tensor is not None})


def test_too_few_tables_are_refused():
    folder = tiny_model("balle-li-roi")
    fewer = {name: tensor[:-1] if name.startswith("y.") else tensor for name, tensor in folder.tables.items()}
    with pytest.raises(BalleLiError, match=f"tables.y has {SCALES - 1} rows, must have {SCALES}"):
        folder.model.latent_codec.set_tables(fewer)


@pytest.mark.parametrize("missing", [Section.QUALITY_MAP, Section.HYPER_LATENTS, Section.LATENTS])
def test_a_stream_without_a_section_is_refused(latents, missing):
    sections = latents.encode(latents.prepare(*y_and_r(6, 6)))
    del sections[missing]
    with pytest.raises(BitstreamError, match=f"no {missing.name.lower()}"):
        latents.decode(sections, 6, 6)
