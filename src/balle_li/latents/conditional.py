"""Latents whose mean and table are predicted from a hyper-latent, a quality map and their decoded neighbours."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from balle_li.errors import BalleLiError
from balle_li.latents import Section, Sections, needed, present
from balle_li.latents.base import (
    Decoded,
    EntropyParameters,
    Floats,
    LatentCodec,
    LatentOutput,
    Prepared,
    bounded,
    rounded,
    straight_through,
)
from balle_li.latents.coding_order import PLANES, Step, coding_order
from balle_li.latents.entropy_coder import Decoder, EntropyCoder, Tables
from balle_li.latents.factorized import FactorizedPrior
from balle_li.latents.gaussian import (
    SCALES,
    GaussianConditional,
    by_scale,
    dead_zone,
    empirical_tables,
    gaussian_tables,
)
from balle_li.latents.hyper_latent import HyperLatentCoder, Symbols, hyper_latent_tables, with_quiet
from balle_li.latents.integer_network import FRACTION, FRACTION_BITS, LIMIT, IntegerNetwork, integer_tensors
from balle_li.quality_map import STEPS, Levels, pack_levels, unpack_levels
from balle_li.tiling import inputs_of, tiles, within

_TILE = 128  # latents; even


class ConditionalLatents(LatentCodec):
    """u = y · exp(encoder_gain · r) is coded as its rounded distance from a mean, by the table of a scale index.

        r, z = h_a(u, r)             coded first: r as it is, z with the factorized `prior`, and where nothing follows
        mean, index = h_s(z, r)      whole-number arithmetic, the same on every machine
        mean, index += h_c(…)        of the decoded neighbours, step by step (`coding_order`)
        y_hat = (symbol + mean) · exp(decoder_gain · r)

    z gives every latent a mean and a scale: the hyperprior of Ballé et al. (2018) and Minnen et al. (2018). The gains are
    those of Cui et al. (2021), "Asymmetric gained deep image compression", with one learned slope a channel for a continuous
    r. A scale index of 0, the narrowest, is not coded at all: its symbol is 0. So are all symbols under a quiet position of z.

    h_a: `(B, M + 1, 2h, 2w)` to `(B, Cz, h, w)`. h_s: `(B, Cz + 4, h, w)`, r's four values under each of its inputs as four
    channels, to mean and index `(B, 2M, 2h, 2w)`. h_c: `(B, Cc, 2h + 1, 2w + 1)`, what the first Cc channels are decoded to
    less the mean of h_s, and 0 where they are not decoded yet, with PLANES channels more; to what
    it adds at every second row and column, `(B, 2M, h, w)`. h_s and h_c are convolutions and ReLU; the first of h_c is 3×3
    with stride 2 and no padding. first_gain: encoder_gain at the start, decoder_gain its opposite. levels: of `coding_order`.
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
        levels: int,
    ) -> None:
        super().__init__()
        self.h_a, self.prior, self.h_s, self.h_c = h_a, prior, h_s, h_c
        self.order, self.alignment = coding_order(levels), 2**levels
        self.context_channels = int(h_c[0].in_channels) - PLANES  # type: ignore[arg-type]
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
        size = u.shape[2:]
        mean, index = mean.clone(), index.clone()
        deviations = torch.zeros_like(u[:, : self.context_channels])  # of decoded values from the mean of h_s
        for step in self.order:
            entering = self._context(deviations[:, *step.grid], step, *size) if step.has_context else None
            for (row, column), view in step.parts(*size):
                at = slice(None), *view
                fresh = torch.zeros_like(deviations[at])
                if entering is not None:
                    more_mean, more_index = self.h_c(entering[:, :, row:, column:]).chunk(2, dim=1)
                    mean[at] += more_mean
                    index[at] += more_index
                    fresh = more_mean[:, : self.context_channels]
                deviations[at] = fresh + straight_through((u[at] - mean[at])[:, : self.context_channels])
        return mean, bounded(index, 0, SCALES - 1)

    def _context(self, deviations: Tensor, step: Step, rows: int, columns: int) -> Tensor:
        """What h_c is given: `(B, Cc, h, w)` on the step's grid, the planes, and a border of one all around.

        The border mirrors the grid about its outermost row or column, so what it holds is decoded when its mirror image is.
        """
        planes = step.planes(rows, columns).to(deviations)
        deviations = torch.cat((deviations, planes.expand(len(deviations), -1, -1, -1)), dim=1)
        height, width = deviations.shape[2:]
        down, across = ("reflect" if side > 1 else "constant" for side in (height, width))
        return F.pad(F.pad(deviations, (0, 0, 1, 1), mode=down), (1, 1, 0, 0), mode=across)

    # The end of training: whole numbers.

    def make_tables(self, latents: Iterable[tuple[Floats, Levels]]) -> dict[str, Tensor]:
        tables = integer_tensors("h_s", self.h_s) | integer_tensors("h_c", self.h_c)
        prior = self.prior.tables("z", median_step=1 / FRACTION)
        tables |= hyper_latent_tables(prior, []) | gaussian_tables("y")
        tables["decoder_gain"] = self.decoder_gain.detach().float().cpu().clone()
        self.set_tables(tables)
        coded, hyper_latents = [], []
        for y, r in latents:
            prepared = self.prepare(y, r)
            assert prepared.z is not None
            symbols = prepared.symbols()
            quiet = _quiet(symbols)
            counted = prepared.coded & ~_spread(quiet, *symbols.shape[1:])
            coded.append((prepared.table[counted], symbols[counted]))
            hyper_latents.append(with_quiet(prepared.z, quiet))
        if coded:
            tables |= hyper_latent_tables(prior, hyper_latents) | empirical_tables("y", coded)
            self.set_tables(tables)
        return tables

    def set_tables(self, tables: Mapping[str, Tensor]) -> None:
        self._z_coder = HyperLatentCoder(self.prior, tables)
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
        self.coder, self._dead_zone = EntropyCoder(own), dead_zone(own)

    # The codec: encode and decode.

    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        assert r is not None
        u = y * _numpy_gain(self.encoder_gain.numpy(force=True)[:, None, None], r)
        z = self._hyper_analysis(u, r)
        return self._prepared(u, _numpy_gain(self._decoding_gain, r), r, z, self._prior(z, r), self._dead_zone)

    def requantized(self, prepared: Prepared, values: Floats) -> Prepared:
        assert prepared.prior is not None and prepared.r is not None
        everything = np.zeros_like(self._dead_zone)  # what is asked for is meant
        return self._prepared(values, prepared.gain, prepared.r, prepared.z, prepared.prior, everything)

    def encode(self, prepared: Prepared) -> Sections:
        assert prepared.r is not None and prepared.z is not None
        symbols, size = prepared.symbols(), prepared.r.shape
        quiet = _quiet(symbols)
        z_coded, z_escaped = self._z_coder.encode(prepared.z, quiet)
        loud = ~_spread(quiet, *size)
        groups = (
            by_scale(prepared.table[step.grid], _coded_by(step, loud)).groups(symbols[step.grid]) for step in self.order
        )
        coded, escaped = self.coder.encode(*groups)
        first: Sections = {Section.QUALITY_MAP: pack_levels(prepared.r), Section.HYPER_LATENTS: z_coded}
        escapes = present({Section.HYPER_LATENTS_ESCAPED: z_escaped, Section.LATENTS_ESCAPED: escaped})
        return first | escapes | {Section.LATENTS: coded}

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Decoded:
        r = unpack_levels(needed(sections, Section.QUALITY_MAP), rows, columns)
        height, width = -(-rows // 2), -(-columns // 2)
        z_coded, z_escaped = needed(sections, Section.HYPER_LATENTS), sections.get(Section.HYPER_LATENTS_ESCAPED, b"")
        z, quiet = self._z_coder.decode(z_coded, z_escaped, height, width)
        loud = ~_spread(quiet, rows, columns)
        decoder = Decoder(self.coder, needed(sections, Section.LATENTS), sections.get(Section.LATENTS_ESCAPED, b""))

        def decoded(step: Step, parameters: EntropyParameters) -> Symbols:
            order = by_scale(_table(parameters), _coded_by(step, loud))
            return order.scattered(decoder.part(order.counts))

        parameters, symbols = self._in_order(self._prior(z, r), decoded)
        decoder.finish()
        return Decoded(symbols, (symbols + parameters.mean) * _numpy_gain(self._decoding_gain, r))

    def bits(self, prepared: Prepared) -> Floats:
        assert prepared.z is not None
        symbols = prepared.symbols()
        quiet = _quiet(symbols)
        order = by_scale(prepared.table, ~_spread(quiet, *symbols.shape[1:]))
        bits = order.scattered(self.coder.bits(order.groups(symbols))).sum(axis=0)
        shared = _spread(self._z_coder.bits(prepared.z, quiet) / 4, *bits.shape)
        return np.asarray(bits + shared, np.float32)

    def importance(self, prepared: Prepared) -> Floats:
        return np.clip(prepared.table.mean(axis=0, dtype=np.float32) / (SCALES / 2), 0, 1)

    def _prepared(
        self, u: Floats, gain: Floats, r: Levels, z: Symbols | None, prior: EntropyParameters, dead_zone: Floats
    ) -> Prepared:
        """dead_zone: by table, the distance from the mean below which u counts as the mean."""

        def residual(part: Floats, parameters: EntropyParameters, table: NDArray[np.uint8]) -> Floats:
            distance = part - parameters.mean
            return np.where(np.abs(distance) < dead_zone[table], np.float32(0), distance)

        def rounded_to(step: Step, parameters: EntropyParameters) -> Symbols:
            table = _table(parameters)
            coded = (table > 0) & step.targets(*r.shape)
            return rounded(np.where(coded, residual(u[step.grid], parameters, table), 0))

        parameters, _ = self._in_order(prior, rounded_to)
        table = _table(parameters)
        return Prepared(residual(u, parameters, table), parameters.mean, gain, table, table > 0, r, z, prior)

    def _in_order(
        self, prior: EntropyParameters, code: Callable[[Step, EntropyParameters], Symbols]
    ) -> tuple[EntropyParameters, Symbols]:
        """`prior` with what h_c adds to it, and the symbols (M, rows, columns), one step of the order after the other.

        code: given a step and the parameters on its grid, the symbols there, 0 where the step codes nothing.
        """
        _, *size = prior.mean.shape
        made = EntropyParameters(prior.mean.copy(), prior.index.copy())
        symbols = np.zeros(prior.mean.shape, np.int16)
        deviations = np.zeros((self.context_channels, *size), np.float32)
        for step in self.order:
            if step.has_context:
                self._add_context(made, deviations, step)
            fresh = code(step, made.part(*step.grid[1:]))
            symbols[step.grid] += fresh
            for _, at in step.parts(*size):
                coded = symbols[at] + made.mean[at] - prior.mean[at]
                deviations[at] = coded[: self.context_channels]
        return made, symbols

    @torch.inference_mode()
    def _hyper_analysis(self, u: Floats, levels: Levels) -> Symbols:
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
    def _prior(self, z: Symbols, levels: Levels) -> EntropyParameters:
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
    def _add_context(self, made: EntropyParameters, deviations: NDArray[np.float32], step: Step) -> None:
        """Add what h_c makes of the deviations (Cc, rows, columns) to the parameters of the step's positions."""
        size = deviations.shape[1:]
        entering = self._context(torch.from_numpy(deviations[step.grid][None]), step, *size)
        for (row, column), view in step.parts(*size):
            mean, index = made.mean[view], made.index[view]
            _, height, width = mean.shape
            for down, across in tiles(height, width, _TILE):
                top, left = (
                    slice(first + 2 * span.start, first + 2 * span.stop + 1)
                    for first, span in ((row, down), (column, across))
                )
                out = self._integer_h_c(entering[:, :, top, left].double() * FRACTION)[0]
                more_mean, more_index = out.chunk(2)
                mean[:, down, across] += (more_mean / FRACTION).numpy()
                index[:, down, across] += more_index.int().numpy()

    def _entering(self, z: Symbols, levels: Levels) -> Tensor:
        """z and under each of its values the four levels of r, times 2^8: (Cz + 4, ⌈rows/2⌉, ⌈columns/2⌉)."""
        symbols = (torch.from_numpy(z).double() + self.prior.median[:, None, None].double()) * FRACTION
        rows, columns = z.shape[1:]
        even = torch.from_numpy(_window(levels[None], slice(0, 2 * rows), slice(0, 2 * columns))).double()
        r = F.pixel_unshuffle(even * (FRACTION // STEPS), 2)
        return torch.cat((symbols.clamp_(-LIMIT, LIMIT), r))


def _quiet(symbols: Symbols) -> NDArray[np.bool_]:
    """Under which positions of z all symbols (M, rows, columns) are 0, `(⌈rows/2⌉, ⌈columns/2⌉)`."""
    loud = symbols.any(axis=0)
    even = np.pad(loud, [(0, side % 2) for side in loud.shape])
    return ~(even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2])


def _coded_by(step: Step, loud: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """On the step's grid, the positions whose symbols it codes. loud (rows, columns): those that are not quiet."""
    return step.targets(*loud.shape) & loud[step.grid[1:]]


def _spread(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """What lies at each position of z, at the positions (rows, columns) of y above it."""
    return values.repeat(2, axis=0).repeat(2, axis=1)[:rows, :columns]


def _table(parameters: EntropyParameters) -> NDArray[np.uint8]:
    """The table of the nearest scale index, (M, rows, columns)."""
    return ((parameters.index + FRACTION // 2) >> FRACTION_BITS).clip(0, SCALES - 1).astype(np.uint8)


def _to_even(values: Tensor) -> Tensor:
    """`(B, C, h, w)` with its last row and column repeated where h or w is odd."""
    height, width = values.shape[2:]
    # Not by F.pad, whose gradient cannot be compiled for tensors in channels-last order.
    if height % 2:
        values = torch.cat((values, values[:, :, -1:]), dim=2)
    if width % 2:
        values = torch.cat((values, values[:, :, :, -1:]), dim=3)
    return values


def _gain(slope: Tensor, r: Tensor) -> Tensor:
    """`(M,)` and `(B, 1, h, w)` to `(B, M, h, w)`."""
    return torch.exp(slope.view(1, -1, 1, 1) * r)


def _numpy_gain(slope: Floats, r: Levels) -> Floats:
    """`(M, 1, 1)` and `(rows, columns)` to `(M, rows, columns)`."""
    return np.exp(slope * (r.astype(np.float32) / STEPS))


def _window(values: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """A part of (C, h, w); past its end, which is one row or column at most, the last one is repeated."""
    part = values[:, rows, columns]
    below, right = rows.stop - rows.start - part.shape[1], columns.stop - columns.start - part.shape[2]
    return np.pad(part, ((0, 0), (0, below), (0, right)), mode="edge") if below or right else part.copy()
