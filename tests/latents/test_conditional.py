"""Conditional latents: their networks tile by tile, what the context may see, and what is coded."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import silenced, tiny_model

from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents import Section, conditional
from balle_li.latents.base import EntropyParameters
from balle_li.latents.conditional import ConditionalLatents
from balle_li.latents.gaussian import SCALES

M = 32
NO_DEAD_ZONE = np.zeros(SCALES, np.float32)


def tiny_latents(**arguments: Any) -> ConditionalLatents:
    found = tiny_model("balle-li-roi", **arguments).model.latent_codec
    assert isinstance(found, ConditionalLatents)
    return found


@pytest.fixture(scope="module", params=[1, 2, 5])
def latents(request: pytest.FixtureRequest) -> ConditionalLatents:
    """From every second, fourth and 32nd row and column to all of them."""
    return tiny_latents(levels=request.param)


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


@pytest.mark.parametrize("size", [(9, 14), (3, 17)])
def test_tiles_of_the_context_give_the_whole_pictures_result(latents, monkeypatch, size):
    u, levels = y_and_r(*size)
    prior = latents._prior(latents._hyper_analysis(u, levels), levels)
    whole = latents._prepared(u, np.float32(1), levels, None, prior, NO_DEAD_ZONE)
    assert (whole.mean != prior.mean).any()
    monkeypatch.setattr(conditional, "_TILE", 4)
    tiled = latents._prepared(u, np.float32(1), levels, None, prior, NO_DEAD_ZONE)
    assert np.array_equal(tiled.mean, whole.mean) and np.array_equal(tiled.table, whole.table)


def moved_by(latents: ConditionalLatents, row: int, column: int, size: tuple[int, int]) -> set[tuple[int, int]]:
    """The positions whose mean another value of u at (row, column) moves, all else being 0."""
    levels = np.zeros(size, np.int8)
    everywhere = np.full((M, *size), 30 * 2**8, np.int32)
    prior = EntropyParameters(np.zeros(everywhere.shape, np.float32), everywhere)
    u = np.zeros(everywhere.shape, np.float32)
    before = latents._prepared(u, np.float32(1), levels, None, prior, NO_DEAD_ZONE)
    u[0, row, column] = 30
    after = latents._prepared(u, np.float32(1), levels, None, prior, NO_DEAD_ZONE)
    return {(int(r), int(c)) for r, c in zip(*np.nonzero((after.mean != before.mean).any(axis=0)), strict=True)}


def test_an_interlaced_position_sees_what_is_coded_before_it():
    latents = tiny_latents(levels=2)
    assert moved_by(latents, 3, 4, (9, 9)) == set()
    assert moved_by(latents, 3, 3, (9, 9)) == {(2, 3), (3, 2), (3, 4), (4, 3)}
    # The centre of four corners two apart moves its neighbours at that distance, what lies between, and so on.
    moved = moved_by(latents, 2, 2, (9, 9))
    assert {(0, 2), (2, 0), (2, 4), (4, 2), (1, 1), (3, 3), (1, 2), (2, 1)} <= moved
    assert not moved & {(0, 0), (0, 4), (4, 4), (8, 8)}


def test_the_context_goes_on_beyond_the_edge_in_a_mirror(latents):
    step = latents.order[-1]
    grid = torch.randn(1, latents.context_channels, 3, 4)
    entering = latents._context(grid, step, 3, 4)
    assert torch.equal(entering[:, : latents.context_channels, 1:-1, 1:-1], grid)
    for outside, inside in ((0, 2), (-1, -3)):
        assert torch.equal(entering[..., outside, :], entering[..., inside, :])
        assert torch.equal(entering[..., outside], entering[..., inside])
    assert not latents._context(grid[..., :1, :], step, 1, 4)[..., [0, -1], :].any(), "one row has no other beside it"


def test_training_and_coding_agree_on_the_prior(latents):
    """The likelihoods that training sees are those of the parameters that the codec codes by."""
    u, levels = y_and_r(11, 13)
    levels[:] = 0
    prior = EntropyParameters(np.zeros(u.shape, np.float32), np.full(u.shape, 20 * 2**8, np.int32))
    coded = latents._prepared(u, np.float32(1), levels, None, prior, NO_DEAD_ZONE)
    mean, index = torch.from_numpy(prior.mean)[None], torch.full((1, *u.shape), 20.0)
    with torch.no_grad():
        mean, index = latents._with_context(torch.from_numpy(u)[None], mean, index)
    assert np.mean(np.abs(mean[0].numpy() - coded.mean) > 0.05) < 0.02  # a value on the edge of rounding may tip
    assert np.mean(np.abs(index[0].numpy() - coded.table) > 0.6) < 0.02


def test_what_lies_in_the_dead_zone_is_coded_as_nought_unless_it_is_asked_for(latents):
    y, r = y_and_r(8, 8)
    prepared = latents.prepare(y / 10, r)
    zone, distance = latents._dead_zone[prepared.table], np.abs(prepared.residual)
    assert not ((distance > 0) & (distance < zone)).any()
    dropped = prepared.coded & (zone > 0.52) & (prepared.residual == 0)
    asked = latents.requantized(prepared, np.where(dropped, prepared.mean + 0.51, prepared.residual + prepared.mean))
    corner = dropped[:, 0, 0]  # coded first, so that nothing else moves its mean
    assert corner.any() and (asked.symbols()[corner, 0, 0] == 1).all()


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


@pytest.mark.parametrize("columns", [2, 6, 9])
def test_what_is_quiet_is_decoded_as_nought_and_not_coded(latents, columns):
    y, r = y_and_r(7, 9)
    loud = latents.prepare(y, r)
    quiet = silenced(latents, loud, columns)
    assert not quiet.symbols()[:, :, :columns].any() and quiet.coded[:, :, :columns].any()
    sections = latents.encode(quiet)
    assert np.array_equal(latents.decode(sections, 7, 9).symbols, quiet.symbols())
    assert len(sections[Section.LATENTS]) < (1 - 0.7 * columns / 9) * len(latents.encode(loud)[Section.LATENTS]) + 8
    under = columns // 2 if columns < 9 else 5  # of z's columns
    marked = np.zeros((4, 5), bool)
    marked[:, :under] = True
    shared = latents._z_coder.bits(quiet.z, marked).repeat(2, axis=0).repeat(2, axis=1)[:7, :9] / 4
    np.testing.assert_allclose(latents.bits(quiet)[:, : 2 * under], shared[:, : 2 * under], rtol=1e-5)


def test_requantized_moves_what_is_coded_later(latents):
    prepared = latents.prepare(*y_and_r(8, 8))
    values = prepared.residual + prepared.mean
    again = latents.requantized(prepared, values)
    assert np.array_equal(again.residual, prepared.residual) and np.array_equal(again.table, prepared.table)
    channel = int(np.flatnonzero(prepared.coded[: latents.context_channels, 4, 4])[0])
    values[channel, 4, 4] += 9
    changed = (latents.requantized(prepared, values).mean != prepared.mean).any(axis=0)
    assert changed[4, 5] and changed[3, 4] and not changed[4, 4] and not changed[0, 0]


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
