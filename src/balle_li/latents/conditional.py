"""Latents coded with a table each, chosen by a hyper-latent, a quality map and what is decoded around them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.errors import BalleLiError
from balle_li.latents.base import Decoded, EntropyParameters, Floats, LatentCodec, LatentOutput, Prepared, rounded
from balle_li.latents.entropy_coder import Decoder, EntropyCoder
from balle_li.latents.factorized import FactorizedPrior, factorized_coder
from balle_li.latents.gaussian import SCALES, BoundedIndex, GaussianConditional, empirical_tables, gaussian_tables
from balle_li.latents.integer_network import FRACTION, FRACTION_BITS, LIMIT, IntegerNetwork, integer_tensors
from balle_li.latents.noise import straight_through
from balle_li.latents.sections import Section, Sections, needed, present
from balle_li.latents.tables import Tables
from balle_li.quality_map import STEPS, Levels, pack_levels, unpack_levels
from balle_li.tiling import inputs_of, tiles, within

_TILE = 128  # latents; even


class ConditionalLatents(LatentCodec):
    """u = y · exp(encoder_gain · r) is coded as its rounded distance from a mean, by the table of a scale index.

        r, z = h_a(u, r)             coded first: r as it is, z with the factorized `prior`
        mean, index = h_s(z, r)      whole-number arithmetic, the same on every machine
        mean, index += h_c(…)        in the second half of a checkerboard, by what is decoded of the first
        y_hat = (symbol + mean) · exp(decoder_gain · r)

    z gives every latent a mean and a scale: the hyperprior of Ballé et al. (2018) and Minnen et al. (2018). The gains are
    those of Cui et al. (2021), "Asymmetric gained deep image compression", with one learned slope a channel for a continuous
    r. The halves are those of He et al. (2021), "Checkerboard context model for efficient learned image compression". A
    scale index of 0, the narrowest, is not coded at all: its symbol is 0.

    h_a: `(B, M + 1, 2h, 2w)` to `(B, Cz, h, w)`. h_s: `(B, Cz + 4, h, w)`, r's four values under each of its inputs as four
    channels, to mean and index `(B, 2M, 2h, 2w)`. h_c: symbols of the first Cc channels `(B, Cc, h, w)` to what it adds,
    `(B, 2M, h, w)`. h_s and h_c are convolutions and ReLU. first_gain: encoder_gain at the start, decoder_gain its opposite.
    """

    variable_rate = True

    def __init__(
        self,
        M: int,
        h_a: nn.Sequential,
        prior: FactorizedPrior,
        h_s: nn.Sequential,
        h_c: nn.Sequential,
        first_gain: float,
    ) -> None:
        super().__init__()
        self.h_a, self.prior, self.h_s, self.h_c = h_a, prior, h_s, h_c
        self.context_channels = int(h_c[0].in_channels)  # type: ignore[arg-type]
        self.gaussian = GaussianConditional()
        self.encoder_gain = nn.Parameter(torch.full((M,), first_gain))
        self.decoder_gain = nn.Parameter(torch.full((M,), -first_gain))

    # Training: likelihoods.

    def forward(self, y: Tensor, r: Tensor | None) -> LatentOutput:
        with torch.autocast(y.device.type, enabled=False):
            y = y.float()
            r = y.new_zeros(len(y), 1, *y.shape[2:]) if r is None else r
            u = y * _gain(self.encoder_gain, r)
        z = self.h_a(torch.cat((_to_even(u), _to_even(r)), dim=1))
        with torch.autocast(y.device.type, enabled=False):
            z_hat, z_likelihoods = self.prior(z)
            mean, index = self._with_context(u, *self._from_hyper_latent(z_hat, r))
            u_hat, y_likelihoods = self.gaussian(u, mean, index, self.noisy_decoder)
            y_hat = u_hat * _gain(self.decoder_gain, r)
        importance = index.detach().mean(dim=1, keepdim=True) / (SCALES / 2)
        return LatentOutput(y_hat, {"y": y_likelihoods, "z": z_likelihoods}, importance.clamp(0, 1))

    def _from_hyper_latent(self, z_hat: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """z_hat `(B, Cz, ⌈h/2⌉, ⌈w/2⌉)` and r `(B, 1, h, w)` to mean and index, not bounded, `(B, M, h, w)`."""
        height, width = r.shape[2:]
        parameters = self.h_s(torch.cat((z_hat, F.pixel_unshuffle(_to_even(r), 2)), dim=1))[:, :, :height, :width]
        mean, index = parameters.chunk(2, dim=1)
        return mean, index

    def _with_context(self, u: Tensor, mean: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """mean and index with what h_c adds to them, the index within the table. All `(B, M, h, w)`."""
        height, width = u.shape[2:]
        second = second_half(height, width, u.device)
        symbols = straight_through((u - mean)[:, : self.context_channels])
        more_mean, more_index = (self.h_c(symbols * ~second) * second).chunk(2, dim=1)
        return mean + more_mean, BoundedIndex.apply(index + more_index)

    # The end of training: whole numbers.

    def make_tables(self, latents: Iterable[tuple[Floats, Levels]]) -> dict[str, Tensor]:
        tables = integer_tensors("h_s", self.h_s) | integer_tensors("h_c", self.h_c)
        tables |= self.prior.tables("z", median_step=1 / FRACTION) | gaussian_tables("y")
        tables["decoder_gain"] = self.decoder_gain.detach().float().cpu().clone()
        self.set_tables(tables)
        coded = []
        for y, r in latents:
            prepared = self.prepare(y, r)
            coded.append((prepared.table[prepared.coded], prepared.symbols()[prepared.coded]))
        if coded:
            tables |= empirical_tables("y", coded)
            self.set_tables(tables)
        return tables

    def set_tables(self, tables: Mapping[str, Tensor]) -> None:
        self._z_coder = factorized_coder("z", self.prior, tables)
        self._integer_h_s = IntegerNetwork("h_s", self.h_s, tables)
        self._integer_h_c = IntegerNetwork("h_c", self.h_c, tables)
        gain = tables.get("decoder_gain")
        if gain is None or gain.dtype != torch.float32 or gain.shape != self.decoder_gain.shape:
            raise BalleLiError(f"tables.decoder_gain must be float32 {tuple(self.decoder_gain.shape)}")
        if not bool(gain.isfinite().all()):
            raise BalleLiError("tables.decoder_gain holds a number that is not finite; the training diverged")
        self._decoding_gain = gain.numpy(force=True)[:, None, None]
        own = Tables.of("y", tables)
        if own.rows != SCALES:
            raise BalleLiError(f"tables.y has {own.rows} rows, must have {SCALES}")
        self.coder = EntropyCoder(own)

    # The codec: encode and decode.

    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        assert r is not None
        u = y * _numpy_gain(self.encoder_gain.numpy(force=True)[:, None, None], r)
        z = self._hyper_analysis(u, r)
        return self._prepared(u, _numpy_gain(self._decoding_gain, r), r, z, self._prior(z, r))

    def requantized(self, prepared: Prepared, values: Floats) -> Prepared:
        assert prepared.prior is not None and prepared.r is not None
        return self._prepared(values, prepared.gain, prepared.r, prepared.z, prepared.prior)

    def encode(self, prepared: Prepared) -> Sections:
        assert prepared.r is not None and prepared.z is not None
        z_coded, z_escaped = self._z_coder.encode(prepared.z.reshape(len(prepared.z), -1))
        symbols = prepared.symbols()
        groups = (_ByScale(prepared.table, half).groups(symbols) for half in _halves(*prepared.r.shape))
        coded, escaped = self.coder.encode(*groups)
        first: Sections = {Section.QUALITY_MAP: pack_levels(prepared.r), Section.HYPER_LATENTS: z_coded}
        escapes = present({Section.HYPER_LATENTS_ESCAPED: z_escaped, Section.LATENTS_ESCAPED: escaped})
        return first | escapes | {Section.LATENTS: coded}

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Decoded:
        r = unpack_levels(needed(sections, Section.QUALITY_MAP), rows, columns)
        height, width = -(-rows // 2), -(-columns // 2)
        z_coded, z_escaped = needed(sections, Section.HYPER_LATENTS), sections.get(Section.HYPER_LATENTS_ESCAPED, b"")
        z = np.stack(self._z_coder.decode(z_coded, z_escaped, height * width)).reshape(-1, height, width)
        parameters = self._prior(z, r)
        decoder = Decoder(self.coder, needed(sections, Section.LATENTS), sections.get(Section.LATENTS_ESCAPED, b""))
        symbols = np.zeros(parameters.mean.shape, np.int16)
        for number, half in enumerate(_halves(rows, columns)):
            if number == 1:
                parameters = self._prior_of_second_half(parameters, symbols)
            order = _ByScale(_table(parameters), half)
            symbols += order.scattered(decoder.part(order.counts))
        decoder.finish()
        return Decoded(symbols, (symbols + parameters.mean) * _numpy_gain(self._decoding_gain, r))

    def bits(self, prepared: Prepared) -> Floats:
        assert prepared.z is not None
        order = _ByScale(prepared.table, None)
        bits = order.scattered(self.coder.bits(order.groups(prepared.symbols()))).sum(axis=0)
        z_bits = np.sum(self._z_coder.bits(prepared.z.reshape(len(prepared.z), -1)), axis=0)
        shared = z_bits.reshape(prepared.z.shape[1:]).repeat(2, axis=0).repeat(2, axis=1) / 4
        return np.asarray(bits + shared[: bits.shape[0], : bits.shape[1]], np.float32)

    def importance(self, prepared: Prepared) -> Floats:
        return np.clip(prepared.table.mean(axis=0, dtype=np.float32) / (SCALES / 2), 0, 1)

    def _prepared(
        self, u: Floats, gain: Floats, r: Levels, z: NDArray[np.int16] | None, prior: EntropyParameters
    ) -> Prepared:
        def prepared(parameters: EntropyParameters) -> Prepared:
            table = _table(parameters)
            return Prepared(u - parameters.mean, parameters.mean, gain, table, table > 0, r, z, prior)

        return prepared(self._prior_of_second_half(prior, prepared(prior).symbols()))

    @torch.inference_mode()
    def _hyper_analysis(self, u: Floats, levels: Levels) -> NDArray[np.int16]:
        """The symbols of z (Cz, ⌈rows/2⌉, ⌈columns/2⌉) of u (M, rows, columns)."""
        rows, columns = (-(-side // 2) for side in levels.shape)
        median = self.prior.median[:, None, None]
        z = np.empty((len(median), rows, columns), np.int16)
        for row, column in tiles(rows, columns, _TILE // 2):
            top, left = (inputs_of(self.h_a, span, 2 * n, unit=2) for span, n in ((row, rows), (column, columns)))
            window = torch.from_numpy(_window(u, top, left))
            r = torch.from_numpy(_window(levels[None], top, left)).float() / STEPS
            values = self.h_a(torch.cat((window, r))[None])[0, :, within(row, top, 1, 2), within(column, left, 1, 2)]
            z[:, row, column] = rounded((values - median).numpy())
        return z

    @torch.inference_mode()
    def _prior(self, z: NDArray[np.int16], levels: Levels) -> EntropyParameters:
        """What h_s makes of the symbols of z and r: the same on every machine."""
        rows, columns = levels.shape
        shape = len(self.decoder_gain), rows, columns
        made = EntropyParameters(np.empty(shape, np.float32), np.empty(shape, np.int32))
        entering = self._entering(z, levels)
        for row, column in tiles(rows, columns, _TILE):
            top, left = (inputs_of(self.h_s, span, side) for span, side in ((row, z.shape[1]), (column, z.shape[2])))
            out = self._integer_h_s(entering[None, :, top, left])[0, :, within(row, top, 2), within(column, left, 2)]
            mean, index = out.chunk(2)
            made.mean[:, row, column] = (mean / FRACTION).numpy()
            made.index[:, row, column] = index.numpy()
        return made

    @torch.inference_mode()
    def _prior_of_second_half(self, prior: EntropyParameters, symbols: NDArray[np.int16]) -> EntropyParameters:
        """`prior`, in the second half changed by what h_c makes of the first half's symbols.

        symbols: (M, rows, columns); those of the second half do not count.
        """
        _, rows, columns = symbols.shape
        second = second_half(rows, columns).numpy()
        first = np.where(second, 0, symbols[: self.context_channels])
        made = EntropyParameters(prior.mean.copy(), prior.index.copy())
        for row, column in tiles(rows, columns, _TILE):
            top, left = (inputs_of(self.h_c, span, side) for span, side in ((row, rows), (column, columns)))
            entering = torch.from_numpy(first[:, top, left]).double() * FRACTION
            out = self._integer_h_c(entering[None])[0, :, within(row, top), within(column, left)]
            more_mean, more_index = (out * torch.from_numpy(second[row, column])).chunk(2)
            made.mean[:, row, column] += (more_mean / FRACTION).numpy()
            made.index[:, row, column] += more_index.int().numpy()
        return made

    def _entering(self, z: NDArray[np.int16], levels: Levels) -> Tensor:
        """z and under each of its values the four levels of r, times 2^8: (Cz + 4, ⌈rows/2⌉, ⌈columns/2⌉)."""
        symbols = (torch.from_numpy(z).double() + self.prior.median[:, None, None].double()) * FRACTION
        rows, columns = z.shape[1:]
        even = torch.from_numpy(_window(levels[None], slice(0, 2 * rows), slice(0, 2 * columns))).double()
        r = F.pixel_unshuffle(even * (FRACTION // STEPS), 2)
        return torch.cat((symbols.clamp_(-LIMIT, LIMIT), r))


class _ByScale:
    """Symbols grouped by scale: positions of one half, or all, by table from 1 on, then channel, row, column."""

    def __init__(self, index: NDArray[np.integer], half: NDArray[np.bool_] | None) -> None:
        self._shape = index.shape
        flat = (index if half is None else index * half).reshape(-1)
        coded = np.flatnonzero(flat)
        self.counts = np.bincount(flat[coded], minlength=SCALES)
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


def _table(parameters: EntropyParameters) -> NDArray[np.uint8]:
    """The table of the nearest scale index, (M, rows, columns)."""
    return ((parameters.index + FRACTION // 2) >> FRACTION_BITS).clip(0, SCALES - 1).astype(np.uint8)


def second_half(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """`(height, width)`, True where row and column add up to an odd number: the positions that are decoded last."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return (rows[:, None] + columns) % 2 == 1


def _halves(rows: int, columns: int) -> list[NDArray[np.bool_]]:
    """The positions that are coded one part after the other."""
    second = second_half(rows, columns).numpy()
    return [~second, second]


def _to_even(values: Tensor) -> Tensor:
    """`(B, C, h, w)` with its last row and column repeated where h or w is odd."""
    height, width = values.shape[2:]
    if height % 2 == 0 and width % 2 == 0:
        return values
    return F.pad(values, (0, width % 2, 0, height % 2), mode="replicate")


def _gain(slope: Tensor, r: Tensor) -> Tensor:
    """`(M,)` and `(B, 1, h, w)` to `(B, M, h, w)`."""
    return torch.exp(slope.view(1, -1, 1, 1) * r)


def _numpy_gain(slope: Floats, r: Levels) -> Floats:
    """`(M, 1, 1)` and `(rows, columns)` to `(M, rows, columns)`."""
    return np.exp(slope * (r.astype(np.float32) / STEPS))


def _window(values: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """A part of (C, h, w); past its end, which is one row or column at most, the last one is repeated."""
    part = values[:, rows, columns]
    below, beside = rows.stop - rows.start - part.shape[1], columns.stop - columns.start - part.shape[2]
    return np.pad(part, ((0, 0), (0, below), (0, beside)), mode="edge") if below or beside else part.copy()
