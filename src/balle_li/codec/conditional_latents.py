"""Latents whose tables are chosen one by one: by the map z, which is coded first, and the importance r."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.codec.bitstream import Section
from balle_li.codec.entropy_coder import Decoder, EntropyCoder
from balle_li.codec.importance_section import pack_levels, unpack_levels
from balle_li.codec.latents import Latents, Prepared, Sections, needed, present
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.side_information import EntropyParameters, SideInformation, second_half
from balle_li.importance import STEPS, Levels

Floats = NDArray[np.float32]


class ConditionalLatents:
    """u = y · exp(gain · r) is coded as its rounded distance from the mean, with the table that the index names.

    Index 0, the narrowest scale, is not coded at all: its distance is 0. Models with a context code first the positions
    that a checkerboard has white, then the black ones, whose mean and index their white neighbours have a say in.
    """

    def __init__(self, model: ModelFolder) -> None:
        self._side = SideInformation(model)
        self.coder, self._z_coder = (EntropyCoder(model.tables(latent)) for latent in ("y", "z"))
        self._tables = self.coder.tables.rows
        self._encoder_gain, self._decoder_gain = (
            model.tensors[name].numpy(force=True)[:, None, None] for name in ("encoder_gain", "decoder_gain")
        )

    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        assert r is not None
        u = y * _gain(self._encoder_gain, r)
        z = self._side.analyse(u, r)
        return self._settled(u, _gain(self._decoder_gain, r), z, self._side.parameters(z, r))

    def settled(self, prepared: Prepared, values: Floats) -> Prepared:
        assert prepared.foretold is not None
        return self._settled(values, prepared.gain, prepared.z, prepared.foretold)

    def encode(self, prepared: Prepared, r: Levels | None) -> Sections:
        assert r is not None and prepared.z is not None
        z_coded, z_outside = self._z_coder.encode(prepared.z.reshape(len(prepared.z), -1))
        symbols = prepared.symbols()
        halves = (_Order(prepared.table, self._tables, half).groups(symbols) for half in self._halves(*r.shape))
        coded, outside = self.coder.encode(*halves)
        first: Sections = {Section.IMPORTANCE: pack_levels(r), Section.MAP: z_coded}
        beside = present({Section.MAP_OUTSIDE: z_outside, Section.LATENTS_OUTSIDE: outside})
        return first | beside | {Section.LATENTS: coded}

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Latents:
        r = unpack_levels(needed(sections, Section.IMPORTANCE), rows, columns)
        height, width = self._side.grid(rows, columns)
        z_coded, z_outside = needed(sections, Section.MAP), sections.get(Section.MAP_OUTSIDE, b"")
        z = np.stack(self._z_coder.decode(z_coded, z_outside, height * width)).reshape(-1, height, width)
        parameters = self._side.parameters(z, r)
        decoder = Decoder(self.coder, needed(sections, Section.LATENTS), sections.get(Section.LATENTS_OUTSIDE, b""))
        symbols = np.zeros(parameters.mean.shape, np.int16)
        for number, half in enumerate(self._halves(rows, columns)):
            if number == 1:
                parameters = self._side.with_context(parameters, symbols)
            order = _Order(parameters.tables(self._tables), self._tables, half)
            symbols += order.scattered(decoder.part(order.counts))
        decoder.finish()
        return Latents(symbols, (symbols + parameters.mean) * _gain(self._decoder_gain, r))

    def bits(self, prepared: Prepared) -> Floats:
        assert prepared.z is not None
        order = _Order(prepared.table, self._tables, None)
        bits = order.scattered(self.coder.bits(order.groups(prepared.symbols()))).sum(axis=0)
        z_bits = np.sum(self._z_coder.bits(prepared.z.reshape(len(prepared.z), -1)), axis=0)
        shared = z_bits.reshape(prepared.z.shape[1:]).repeat(2, axis=0).repeat(2, axis=1) / 4
        return np.asarray(bits + shared[: bits.shape[0], : bits.shape[1]], np.float32)

    def importance(self, prepared: Prepared) -> Floats:
        """The mean scale that z and r foretell, as a share of half the table."""
        return np.clip(prepared.table.mean(axis=0, dtype=np.float32) / (self._tables / 2), 0, 1)

    def _settled(self, u: Floats, gain: Floats, z: NDArray[np.int16] | None, foretold: EntropyParameters) -> Prepared:
        def prepared(parameters: EntropyParameters) -> Prepared:
            table = parameters.tables(self._tables)
            return Prepared(u - parameters.mean, parameters.mean, gain, table, table > 0, z, foretold)

        alone = prepared(foretold)
        if not self._side.has_context:
            return alone
        return prepared(self._side.with_context(foretold, alone.symbols()))

    def _halves(self, rows: int, columns: int) -> list[NDArray[np.bool_] | None]:
        """The positions that are coded one part after the other; None: all of them."""
        if not self._side.has_context:
            return [None]
        second = second_half(rows, columns)
        return [~second, second]


class _Order:
    """The order in which positions, those of one half or all, are coded: by index from 1 on, then channel, row, column."""

    def __init__(self, index: NDArray[np.integer], tables: int, half: NDArray[np.bool_] | None) -> None:
        self._shape = index.shape
        flat = (index if half is None else index * half).reshape(-1)
        coded = np.flatnonzero(flat)
        self.counts = np.bincount(flat[coded], minlength=tables)
        self._positions = coded[np.argsort(flat[coded], kind="stable")]

    def groups(self, values: NDArray[np.int16]) -> list[NDArray[np.int16]]:
        """The values (M, rows, columns) of each table, none of table 0."""
        return np.split(values.reshape(-1)[self._positions], np.cumsum(self.counts)[:-1])

    def scattered(self, groups: list[NDArray[Any]]) -> NDArray[Any]:
        """The values of `groups` in their places, 0 elsewhere."""
        values = np.concatenate(groups)
        flat = np.zeros(int(np.prod(self._shape)), values.dtype)
        flat[self._positions] = values
        return flat.reshape(self._shape)


def _gain(slope: Floats, r: Levels) -> Floats:
    return np.exp(slope * (r.astype(np.float32) / STEPS))
