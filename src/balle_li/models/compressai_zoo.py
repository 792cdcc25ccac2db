"""CompressAI's image models, trained and coded here by CompressAI's own classes: the peers of the comparison.

The six are registered under CompressAI's names. A model of CompressAI's kind that stands elsewhere is wrapped the same way,
by `CompressAIModel`.
"""

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from balle_li.errors import BalleLiError, BitstreamError, ConfigError, TrainingError
from balle_li.latents import Section, Sections, needed
from balle_li.latents.base import Decoded, Floats, LatentCodec, LatentOutput, Prepared, rounded
from balle_li.models.base import CompressionModel, register_model
from balle_li.quality_map import Levels
from balle_li.registry import MAX_CHANNELS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # of torch, for what CompressAI does while it is imported
    from compressai.entropy_models import EntropyBottleneck, EntropyModel
    from compressai.zoo import image_models
    from compressai.zoo.image import cfgs, model_architectures, model_urls

_LMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
"""Of the published weights of quality 1 to 8, trained for MSE; CompressAI's documentation lists them."""

_STRINGS = (Section.LATENTS, Section.HYPER_LATENTS)
"""Where the lists of strings go that CompressAI's `compress` returns, in their order."""

_BUFFERS = ("_quantized_cdf", "_offset", "_cdf_length", "scale_table")
"""The tables of CompressAI's entropy models."""

_PRECISION = 16  # bits of CompressAI's tables
_LEAST_STATE = 2**31  # of CompressAI's ANS coder, whose final state begins a string
_CODING = threading.Lock()  # the notes below are taken on the model itself, so one picture is coded at a time


class CompressAILatents(LatentCodec):
    """The latents of a CompressAI model, coded by its own entropy models, in CompressAI's strings.

    net: the model without its transforms: y goes in and y_hat comes out. A string holds whole numbers that floats chose the
    tables of. On another processor, or with another number of threads, those floats may differ and all that follows is wrong.
    A checksum of the whole numbers tells.
    """

    portable = False
    adaptable = False

    net: Any

    def __init__(self, net: Any, downsampling: int) -> None:
        super().__init__()
        self.net = net
        self.multiple = net.downsampling_factor // downsampling
        for module in self._entropy_models().values():
            for name, buffer in list(module.named_buffers(recurse=False)):
                if name in _BUFFERS:  # they belong to the tables of the model folder, not to the weights
                    module.register_buffer(name, buffer, persistent=False)
            if isinstance(module, EntropyBottleneck):
                module.quantiles.requires_grad_(False)  # `make_tables` finds them, not an optimizer

    def forward(self, y: Tensor, r: Tensor | None) -> LatentOutput:
        with torch.autocast(y.device.type, enabled=False):
            output = self.net(y.float())
        return LatentOutput(output["x_hat"], output["likelihoods"], None)

    def make_tables(self, latents: Iterable[tuple[Floats, Levels]]) -> dict[str, Tensor]:
        if not all(bool(weight.isfinite().all()) for weight in self.parameters()):
            raise BalleLiError("the entropy model holds a number that is not finite; the training diverged")
        self.net.update(force=True, update_quantiles=True)
        tables = {
            f"{name}.{buffer}": getattr(module, buffer).detach().cpu().clone()
            for name, module in self._entropy_models().items()
            for buffer in _BUFFERS
            if hasattr(module, buffer)
        }
        self.set_tables(tables)
        return tables

    def set_tables(self, tables: Mapping[str, Tensor]) -> None:
        for name, module in self._entropy_models().items():
            for buffer in _BUFFERS:
                if hasattr(module, buffer):
                    dtype = torch.float32 if buffer == "scale_table" else torch.int32
                    table = tables.get(f"{name}.{buffer}")
                    if table is None or table.dtype != dtype:
                        raise BalleLiError(f"tables.{name}.{buffer} must be {str(dtype).removeprefix('torch.')}")
                    setattr(module, buffer, table)
            _check_tables(name, module)
        # Encoder and decoder have to add up in the same order, and memory layout decides that.
        self.net.to(memory_format=torch.contiguous_format)

    def decoding_weights(self) -> dict[str, Tensor]:
        return dict(self.state_dict())

    def prepare(self, y: Floats, r: Levels | None) -> Prepared:
        same = partial(np.broadcast_to, shape=y.shape)
        return Prepared(y, same(np.float32(0)), same(np.float32(1)), same(0), same(True))

    def requantized(self, prepared: Prepared, values: Floats) -> Prepared:
        return replace(prepared, residual=values)

    def encode(self, prepared: Prepared) -> Sections:
        with torch.no_grad(), self._noted("quantize") as symbols:
            strings = self.net.compress(torch.from_numpy(prepared.residual)[None])["strings"]
        if len(strings) > len(_STRINGS):
            raise BalleLiError(
                f"the model codes a picture as {len(strings)} strings; at most {len(_STRINGS)} can be kept"
            )
        coded = {tag: string for tag, (string,) in zip(_STRINGS, strings, strict=False)}
        return {Section.SYMBOL_CHECKSUM: _checksum(symbols)} | dict(reversed(coded.items()))

    def decode(self, sections: Mapping[int, bytes], rows: int, columns: int) -> Decoded:
        expected = needed(sections, Section.SYMBOL_CHECKSUM)
        needed(sections, Section.LATENTS)
        values = self.net.M * rows * columns
        strings = [[_padded(sections[tag], values)] for tag in _STRINGS if tag in sections]
        with torch.no_grad(), self._noted("dequantize") as symbols, self._seen() as seen:
            try:
                self.net.decompress(strings, (rows // self.multiple, columns // self.multiple))
            except Exception as error:  # CompressAI checks some of what it is given, by errors of many kinds
                raise BitstreamError(f"the strings are not of this model ({error!r}); the stream is damaged") from None
        if _checksum(symbols) != expected:
            raise BitstreamError(
                "the symbols are not those that were coded: this model decodes only on the kind of processor, and with the "
                "number of threads, that coded the picture; or the stream is damaged"
            )
        y_hat = seen[0][0].numpy()
        return Decoded(rounded(y_hat), y_hat)

    @torch.no_grad()
    def bits(self, prepared: Prepared) -> Floats:
        y = torch.from_numpy(prepared.residual)[None]
        with _CODING:
            found = self.net(y)["likelihoods"].values()
        total = y.new_zeros(y.shape[2:])
        for likelihoods in found:
            bits = -likelihoods[0].log2().sum(dim=0)
            side = len(total) // len(bits)  # a hyper-latent's bits are shared by the latents that it stands for
            total += bits.repeat_interleave(side, 0).repeat_interleave(side, 1) / side**2
        return np.asarray(total.numpy(), np.float32)

    def _entropy_models(self) -> dict[str, Any]:
        return {name: module for name, module in self.net.named_modules() if isinstance(module, EntropyModel)}

    @contextmanager
    def _noted(self, method: str) -> Iterator[list[Tensor]]:
        """Note the whole numbers that CompressAI codes (`quantize`) or has decoded (`dequantize`), in their order.

        Every one of them passes that method of an entropy model, whatever the model does beside.
        """
        noted: list[Tensor] = []
        modules = self._entropy_models().values()
        notes: dict[str, Callable[..., Tensor]] = {"quantize": _quantize, "dequantize": _dequantize}
        with _CODING:
            for module in modules:
                setattr(module, method, partial(notes[method], noted, getattr(module, method)))
            try:
                yield noted
            finally:
                for module in modules:
                    delattr(module, method)

    @contextmanager
    def _seen(self) -> Iterator[list[Tensor]]:
        """Keep y_hat, which CompressAI's `decompress` clips to [0, 1] as the picture that g_s would make of it."""
        seen: list[Tensor] = []
        hook = self.net.g_s.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
        try:
            yield seen
        finally:
            hook.remove()


class CompressAIModel(CompressionModel):
    """A model of CompressAI's kind.

                ┌─────┐        ┌────────────────────────┐          ┌─────┐
        x ─────►│ g_a ├── y ──►│ all that is between    ├─ y_hat ─►│ g_s ├──────► x_hat
                └─────┘        │ them in CompressAI     │          └─────┘
                               └───────────┬────────────┘
                                      likelihoods

    net: a model as `compressai.models` has them: transforms `g_a` and `g_s`; `M`, the channels of y; `downsampling_factor`, what
    a picture's sides are multiples of; `forward`; `compress` and `decompress` of at most two lists of strings, whose `shape` is a
    picture's sides over `downsampling_factor`; and `update`. Its transforms move to this module.
    """

    downsampling = 16
    requirements = ("compressai",)

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        whole: Any = net
        self.g_a, self.g_s = whole.g_a, whole.g_s
        whole.g_a, whole.g_s = nn.Identity(), nn.Identity()
        self.latent_codec = CompressAILatents(whole, self.downsampling)
        if any(
            isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) != layer.stride for layer in self.modules()
        ):
            # Channels last and of few channels, the gradient of such a convolution writes past its memory in torch 2.14.
            self.memory_format = torch.contiguous_format


class ZooModel(CompressAIModel):
    """One of CompressAI's own six. quality: of its published sizes, 0 where `sizes` are others; sizes: N, or N and M."""

    def __init__(self, architecture: str, quality: int, sizes: tuple[int, ...], pretrained: bool) -> None:
        super().__init__(model_architectures[architecture](*sizes))
        self.architecture, self.quality = architecture, quality
        if pretrained:
            self.trained_for = {"lmbda": _LMBDAS[quality - 1], "ms_ssim_weight": 0.0}

    def load_published(self) -> None:
        if not self.quality:
            raise TrainingError(
                f"the published weights of {self.architecture} are of certain sizes: set model.quality, "
                f"1 to {len(cfgs[self.architecture])}, and take model.N and model.M out"
            )
        url = model_urls[self.architecture]["mse"][self.quality]
        try:
            net = image_models[self.architecture](self.quality, metric="mse", pretrained=True, progress=False)
        except Exception as error:  # of the network, or of a file that is cut short or of another kind
            raise TrainingError(
                f"the published weights of {self.architecture} at quality {self.quality} cannot be loaded ({error}): connect to "
                f"the internet, or put {url} into {torch.hub.get_dir()}/checkpoints"
            ) from None
        self.load_state_dict(CompressAIModel(net).state_dict())


@register_model("bmshj2018-factorized")
def bmshj2018_factorized(quality: int = 0, N: int = 0, M: int = 0, pretrained: bool = False) -> ZooModel:
    """Ballé et al. (2018): a factorized prior."""
    return _zoo_model("bmshj2018-factorized", quality, {"N": N, "M": M}, pretrained)


@register_model("bmshj2018-hyperprior")
def bmshj2018_hyperprior(quality: int = 0, N: int = 0, M: int = 0, pretrained: bool = False) -> ZooModel:
    """Ballé et al. (2018): a hyper-latent gives the scales."""
    return _zoo_model("bmshj2018-hyperprior", quality, {"N": N, "M": M}, pretrained)


@register_model("mbt2018-mean")
def mbt2018_mean(quality: int = 0, N: int = 0, M: int = 0, pretrained: bool = False) -> ZooModel:
    """Minnen et al. (2018): a hyper-latent gives the means and the scales."""
    return _zoo_model("mbt2018-mean", quality, {"N": N, "M": M}, pretrained)


@register_model("mbt2018")
def mbt2018(quality: int = 0, N: int = 0, M: int = 0, pretrained: bool = False) -> ZooModel:
    """Minnen et al. (2018): with an autoregressive context, which codes position after position."""
    return _zoo_model("mbt2018", quality, {"N": N, "M": M}, pretrained)


@register_model("cheng2020-anchor")
def cheng2020_anchor(quality: int = 0, N: int = 0, pretrained: bool = False) -> ZooModel:
    """Cheng et al. (2020): residual blocks, and the autoregressive context."""
    return _zoo_model("cheng2020-anchor", quality, {"N": N}, pretrained)


@register_model("cheng2020-attn")
def cheng2020_attn(quality: int = 0, N: int = 0, pretrained: bool = False) -> ZooModel:
    """Cheng et al. (2020): with attention blocks."""
    return _zoo_model("cheng2020-attn", quality, {"N": N}, pretrained)


def _zoo_model(architecture: str, quality: int, own: dict[str, int], pretrained: bool) -> ZooModel:
    """The model of the published sizes of `quality` (1 to 8, of Cheng's to 6), or of one's `own`; an M of 0 grows with N.

    Raises ConfigError: neither is given, both are and differ, or one is out of range.
    """
    published = cfgs[architecture]
    if quality and quality not in published:
        raise ConfigError(f"model.quality is {quality}; {architecture} is published at 1 to {len(published)}")
    if quality:
        sizes = published[quality]
        for (name, given), size in zip(own.items(), sizes, strict=True):
            if given not in (0, size):
                raise ConfigError(
                    f"model.{name} is {given}, but {architecture} of quality {quality} has {size}; take model.{name} out "
                    f"(-S '~model.{name}'), or model.quality"
                )
        return ZooModel(architecture, quality, sizes, pretrained)
    if pretrained:
        raise ConfigError(f"model.pretrained needs model.quality, 1 to {len(published)}")
    if not own["N"]:
        raise ConfigError(f"model.N is missing; {architecture} needs it, or model.quality, 1 to {len(published)}")
    first = published[1]
    sizes = (own["N"], *(own["M"] or own["N"] * size // first[0] for size in first[1:]))
    if not all(1 <= size <= MAX_CHANNELS for size in sizes):
        raise ConfigError(f"model.M is {sizes[-1]}, must be between 1 and {MAX_CHANNELS}")
    return ZooModel(architecture, 0, sizes, False)


def _quantize(
    noted: list[Tensor], quantize: Callable[..., Tensor], inputs: Tensor, mode: str, means: Tensor | None = None
) -> Tensor:
    made = quantize(inputs, mode, means)
    if mode == "symbols":
        noted.append(made.flatten().clone())
    return made


def _dequantize(noted: list[Tensor], dequantize: Callable[..., Tensor], inputs: Tensor, *others: Any) -> Tensor:
    noted.append(inputs.int().flatten().clone())
    return dequantize(inputs, *others)


def _checksum(symbols: list[Tensor]) -> bytes:
    return struct.pack("<I", zlib.crc32(torch.cat(symbols).numpy().astype("<i4").tobytes()))


def _padded(string: bytes, values: int) -> bytes:
    """`string` with as many zeros as CompressAI's decoder, which looks for no end, may read past it.

    A value takes two and a half words at most, in an escape fifteen half bytes more for each half byte of the string.
    Raises BitstreamError: no coder ends in such a state.
    """
    if int.from_bytes(string[:8], "little") < _LEAST_STATE:
        raise BitstreamError("the coded latents begin with a state that no coder ends in; the stream is damaged")
    return string + bytes(12 * values + 16 * len(string))


def _check_tables(name: str, module: Any) -> None:
    """Raise BalleLiError where CompressAI's decoder could read outside the tables, or never come to an end."""
    cdf, length, offset = (getattr(module, buffer).numpy() for buffer in ("_quantized_cdf", "_cdf_length", "_offset"))
    rows = module.channels if isinstance(module, EntropyBottleneck) else module.scale_table.numel()
    where = f"tables.{name}"
    if cdf.ndim != 2 or not len(cdf) == len(length) == len(offset) == rows or length.ndim != 1 or offset.ndim != 1:
        raise BalleLiError(f"{where} must have {rows} rows")
    if (length < 3).any() or (length > cdf.shape[1]).any():
        raise BalleLiError(f"{where}: a row's length must be between 3 and {cdf.shape[1]}")
    steps = np.diff(cdf, axis=1)[np.arange(1, cdf.shape[1]) < length[:, None]]
    last = cdf[np.arange(rows), length - 1]
    if (cdf[:, 0] != 0).any() or (steps < 1).any() or (last != 2**_PRECISION).any():
        raise BalleLiError(f"{where}: every row must rise from 0 to 2^{_PRECISION}")
