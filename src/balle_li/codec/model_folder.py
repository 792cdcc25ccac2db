"""The model folder: `model.json` describes a finished codec, `model.safetensors` holds its weights and integer tables."""

import hashlib
import json
import os
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, float32, isfinite

from balle_li.codec.integer_network import check_integer_layers
from balle_li.codec.layers import Layer, channels_in, channels_out, check_layers, scale, tensor_shapes
from balle_li.codec.tables import Tables
from balle_li.errors import BalleLiError
from balle_li.files import read_json, write_bytes, write_json
from balle_li.importance import LIMIT, STEPS

FORMAT = 1
DESCRIPTION_FILE, TENSORS_FILE = "model.json", "model.safetensors"

# Networks that only an encoder runs: retraining one of them leaves older streams decodable, so they are not part of
# the fingerprint.
ENCODER_NETWORKS = frozenset({"g_a", "h_a", "features", "latents", "importance"})
_CONDITIONAL = ("conditional", "gaussian")  # kinds of tables.y; the older name says what shape their tables had
_ENCODER_TENSORS = ENCODER_NETWORKS | {"encoder_gain"}


@dataclass(frozen=True)
class ModelFolder:
    """A model as it lies on disk.

    description: what model.json holds: format, name, N, downsampling (16 or 32 pixels per latent), lmbda, structure (0 if
        absent), networks ({name: [layer, …]}, layers as in `layers.py`), tables ({"y": {"kind": "factorized",
        "precision": 16}}) and free-form facts of the training.
    tensors: `<network>.<layer index>.<weight|bias|beta|gamma>` float32 and, per latent, `tables.<latent>.frequencies`
        int32 (channels, L), `.offset` and `.length` int32 (channels,), `.median` float32 (channels,): a value is decoded
        as symbol + offset + median.

    Conditional models (docs/bitstream.md) have besides: networks.h_a, integer_networks.h_s with int32 tensors,
    importance, encoder_gain and decoder_gain float32 (M,), tables.z as above, and tables.y of the kind "conditional"
    ("gaussian" in older ones), a row for every scale, without a median; and integer_networks.h_c if latents are coded in
    two halves.
    """

    description: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ModelFolder":
        """Read and check a model folder. Raises BalleLiError when it is missing, damaged or not a codec."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(path)
        for name in (DESCRIPTION_FILE, TENSORS_FILE):
            if not (folder / name).is_file():
                raise BalleLiError(
                    f"{folder} is not a model folder: it has no {name}; run the train stage or name another"
                )
        description = read_json(folder / DESCRIPTION_FILE)
        try:
            tensors = load_file(folder / TENSORS_FILE)
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise BalleLiError(
                f"{folder / TENSORS_FILE} is damaged ({error}); train or fetch the model again"
            ) from None
        try:
            model = cls(description, tensors)
            model.check()
        except BalleLiError as error:
            raise BalleLiError(f"{folder} is not a usable model: {error}") from None
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the folder, each file atomically, the description last. Raises BalleLiError if `check` does."""
        from safetensors.torch import save

        self.check()
        folder = Path(path)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        write_bytes(folder / TENSORS_FILE, save(tensors))
        write_json(folder / DESCRIPTION_FILE, self.description)

    def network(self, name: str) -> list[Layer]:
        return self.description["networks"][name]

    def weights(self, network: str) -> dict[str, Tensor]:
        """The tensors of one network, named `<layer index>.<weight|bias|beta|gamma>`."""
        return {
            name.split(".", 1)[1]: tensor for name, tensor in self.tensors.items() if name.startswith(f"{network}.")
        }

    @property
    def conditional(self) -> bool:
        """Whether the tables of y are chosen by a map z and an importance r, so that one model has every rate."""
        return self.description["tables"]["y"].get("kind") in _CONDITIONAL

    def tables(self, latent: str) -> Tables:
        """The integer tables of a latent. Raises BalleLiError when they are missing or do not add up."""
        where = f"tables.{latent}"
        arrays = {
            name: self._tensor(f"{where}.{name}").numpy(force=True) for name in ("frequencies", "offset", "length")
        }
        precision = self.description["tables"][latent].get("precision")
        if not isinstance(precision, int):
            raise BalleLiError(f"{where}.precision must be a whole number, not {precision!r}")
        return Tables.from_arrays(arrays, precision, where)

    @cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that tell models apart which decode differently: SHA-256 over what decoding needs, cut short."""
        networks = {
            name: layers for name, layers in self.description["networks"].items() if name not in ENCODER_NETWORKS
        }
        needed = {
            "downsampling": self.description["downsampling"],
            "networks": networks,
            "tables": self.description["tables"],
        } | {key: self.description[key] for key in ("integer_networks", "importance") if key in self.description}
        digest = hashlib.sha256(json.dumps(needed, sort_keys=True, separators=(",", ":")).encode())
        for name in sorted(self.tensors):
            if name.split(".", 1)[0] not in _ENCODER_TENSORS:
                array = self.tensors[name].numpy(force=True)
                array = array.astype(array.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
                digest.update(array.tobytes())
        return digest.digest()[:8]

    def check(self) -> None:
        """Raise BalleLiError unless this is a codec whose parts fit one another."""
        if not isinstance(self.description, dict) or self.description.get("format") != FORMAT:
            raise BalleLiError(f"{DESCRIPTION_FILE} must say format {FORMAT}; another version of balle-li made it")
        networks, tables = self.description.get("networks"), self.description.get("tables")
        if not isinstance(networks, dict) or not isinstance(tables, dict) or not isinstance(tables.get("y"), dict):
            raise BalleLiError(f"{DESCRIPTION_FILE} must describe networks and tables.y")
        if tables["y"].get("kind") not in ("factorized", *_CONDITIONAL):
            raise BalleLiError(f"tables.y.kind {tables['y'].get('kind')!r} is unknown; a newer balle-li may read it")
        for name, layers in networks.items():
            check_layers(layers, f"networks.{name}")
            self._check_weights(name, layers)
        self._check_signal_flow(networks)
        if self.conditional:
            self._check_conditional(networks)
        else:
            self._check_factorized("y", channels_in(networks["g_s"]), "g_s takes")

    def _check_factorized(self, latent: str, channels: int | None, network: str) -> None:
        rows = self.tables(latent).rows
        if rows != channels:
            raise BalleLiError(f"tables.{latent} has {rows} rows but {network} {channels} channels")
        self._check_floats(f"tables.{latent}.median", (rows,))

    def _check_conditional(self, networks: dict[str, list[Layer]]) -> None:
        described = self.description.get("integer_networks"), self.description["tables"].get("z")
        if "h_a" not in networks or not isinstance(described[0], dict) or not isinstance(described[1], dict):
            raise BalleLiError("a conditional model must describe networks.h_a, integer_networks.h_s and tables.z")
        if self.description.get("importance") != {"steps": STEPS, "limit": LIMIT}:
            raise BalleLiError(f"importance must be {STEPS} steps, limit {LIMIT}; a newer balle-li may read it")
        h_a, h_s, M = networks["h_a"], described[0].get("h_s", []), self._tensor("decoder_gain").numel()
        check_integer_layers(h_s, self.weights("h_s"), "integer_networks.h_s")
        self._check_factorized("z", channels_out(h_a), "h_a gives")
        if not 2 <= self.tables("y").rows <= 256:
            raise BalleLiError(f"tables.y has {self.tables('y').rows} rows, must have 2 to 256")
        channels = self.tables("z").rows
        for name, layers, entering, leaving, factor in (
            ("g_s", networks["g_s"], M, 3, Fraction(self.description["downsampling"])),
            ("h_a", h_a, M + 1, channels, Fraction(1, 2)),
            ("h_s", h_s, channels + 4, 2 * M, Fraction(2)),
        ):
            if (channels_in(layers), channels_out(layers), scale(layers)) != (entering, leaving, factor):
                raise BalleLiError(
                    f"{name} must take {entering} channels and give {leaving} at {factor} times the size"
                )
        if "h_c" in described[0]:
            self._check_context(described[0]["h_c"], M)
        for name in ("encoder_gain", "decoder_gain"):
            self._check_floats(name, (M,))

    def _check_context(self, h_c: list[Layer], M: int) -> None:
        check_integer_layers(h_c, self.weights("h_c"), "integer_networks.h_c")
        entering = channels_in(h_c)
        if entering is None or entering > M or (channels_out(h_c), scale(h_c)) != (2 * M, 1):
            raise BalleLiError(f"h_c must take at most {M} channels and give {2 * M} at the same size")

    def _check_signal_flow(self, networks: dict[str, list[Layer]]) -> None:
        downsampling = self.description.get("downsampling")
        if not isinstance(downsampling, int) or not 1 <= downsampling <= 256:
            raise BalleLiError(f"downsampling must be 1 to 256, not {downsampling!r}")
        chains = [["g_a"]] if "g_a" in networks else [["features", "latents"], ["features", "importance"]]
        for name in {"g_s"}.union(*chains):
            if name not in networks:
                raise BalleLiError(f"networks.{name} is missing")
        ends = {chain[0]: networks[chain[0]][0]["type"] for chain in chains} | {"g_s": networks["g_s"][-1]["type"]}
        for name, kind in ends.items():
            if kind not in ("conv", "deconv"):
                raise BalleLiError(f"{name} must have a convolution on the side of the pixels, not {kind}")
        if channels_out(networks["g_s"]) != 3 or scale(networks["g_s"]) != downsampling:
            raise BalleLiError(f"g_s must give 3 channels at {downsampling} times the latents' size")
        for chain in chains:
            layers = [layer for name in chain for layer in networks[name]]
            check_layers(layers, "+".join(chain))
            leaving = 1 if chain[-1] == "importance" else channels_in(networks["g_s"])
            if (
                channels_in(layers) != 3
                or channels_out(layers) != leaving
                or scale(layers) != Fraction(1, downsampling)
            ):
                raise BalleLiError(
                    f"{'+'.join(chain)} must take 3 channels and give {leaving} at 1/{downsampling} of the size"
                )

    def _check_weights(self, network: str, layers: list[Layer]) -> None:
        for index, layer in enumerate(layers):
            for name, shape in tensor_shapes(layer).items():
                self._check_floats(f"{network}.{index}.{name}", shape)

    def _check_floats(self, name: str, shape: tuple[int, ...]) -> None:
        tensor = self._tensor(name)
        if tensor.dtype != float32 or tuple(tensor.shape) != shape:
            raise BalleLiError(f"{name} must be float32 {shape}, not {tensor.dtype} {tuple(tensor.shape)}")
        if not bool(isfinite(tensor).all()):
            raise BalleLiError(f"{name} holds a number that is not finite; the training diverged")

    def _tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise BalleLiError(f"{TENSORS_FILE} has no {name}")
        return self.tensors[name]
