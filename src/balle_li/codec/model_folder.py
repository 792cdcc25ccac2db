"""The model folder: `model.json` describes a finished codec, `model.safetensors` holds its weights and integer tables."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from balle_li.codec import __version__
from balle_li.errors import BalleLiError
from balle_li.files import read_json, write_bytes, write_json
from balle_li.models.base import CompressionModel, build
from balle_li.models.klt import without_start
from balle_li.registry import MODELS, ModelConfig
from balle_li.tiling import can_be_tiled, scale

FORMAT = 3
DESCRIPTION_FILE, TENSORS_FILE = "model.json", "model.safetensors"
TABLES = "tables."  # begins the names of what the latent codec made when training ended


@dataclass(frozen=True)
class ModelFolder:
    """A finished model.

    model: with its tables, in evaluation mode, on the CPU. tables: of its latent codec, int32 and float32, by name.
    description: what model.json holds: format; model, its registered name and hyperparameters; trained_for, the terms of
    its loss; created_with; and free-form facts of the training.
    """

    model: CompressionModel
    tables: Mapping[str, Tensor]
    description: dict[str, Any]

    @classmethod
    def of(
        cls,
        model: CompressionModel,
        tables: Mapping[str, Tensor],
        trained_for: dict[str, float],
        training: dict[str, Any],
    ) -> "ModelFolder":
        """The folder of a trained model; trained_for: `lmbda` and `ms_ssim_weight` of its loss. Raises BalleLiError as `load`."""
        description = {
            "format": FORMAT,
            "model": {"name": model.name, **model.arguments},
            "trained_for": trained_for,
            "created_with": __version__,
            "training": training,
        }
        folder = cls(model.eval(), dict(tables), description)
        folder._check()
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ModelFolder":
        """Read and check a model folder.

        Raises BalleLiError: it is missing, damaged or of another format; or no installed package offers its model.
        """
        folder = Path(path)
        for name in (DESCRIPTION_FILE, TENSORS_FILE):
            if not (folder / name).is_file():
                raise BalleLiError(
                    f"{folder} is not a model folder: it has no {name}; run the train stage or name another"
                )
        description = read_json(folder / DESCRIPTION_FILE)
        try:
            config = _model_of(description)
            tensors, _ = read_tensors(folder / TENSORS_FILE)
            with without_start():
                model = build(config).eval()
            load_state(model, tensors)
            tables = {name.removeprefix(TABLES): value for name, value in tensors.items() if name.startswith(TABLES)}
            model.latent_codec.set_tables(tables)
            made = cls(model, tables, description)
            made._check()
        except BalleLiError as error:
            raise BalleLiError(f"{folder} is not a usable model: {error}") from None
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the folder, each file atomically, the description last."""
        folder = Path(path)
        tensors = self.model.state_dict() | {f"{TABLES}{name}": tensor for name, tensor in self.tables.items()}
        write_tensors(folder / TENSORS_FILE, self.model, tensors)
        write_json(folder / DESCRIPTION_FILE, self.description)

    @property
    def name(self) -> str:
        """The model's registered name."""
        return str(self.description["model"]["name"])

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {name: value for name, value in self.description["model"].items() if name != "name"}

    @property
    def setting(self) -> str:
        """Its hyperparameters and its lmbda, for people: `N=64, lmbda=0.01`."""
        facts = self.hyperparameters | {"lmbda": f"{self.trained_for['lmbda']:g}"}
        return ", ".join(f"{name}={value}" for name, value in facts.items())

    @property
    def trained_for(self) -> dict[str, float]:
        """`lmbda`, and `ms_ssim_weight`, the weight of the MS-SSIM loss."""
        return {name: float(self.description["trained_for"][name]) for name in ("lmbda", "ms_ssim_weight")}

    @cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that tell models apart which decode differently: SHA-256 over what decoding needs, cut short."""
        needed = {"format": FORMAT, "model": self.description["model"]}
        digest = hashlib.sha256(json.dumps(needed, sort_keys=True, separators=(",", ":")).encode())
        tensors = {f"g_s.{name}": tensor for name, tensor in self.model.g_s.state_dict().items()}
        tensors |= {
            f"latent_codec.{name}": weight for name, weight in self.model.latent_codec.decoding_weights().items()
        }
        tensors |= {f"{TABLES}{name}": tensor for name, tensor in self.tables.items()}
        for name, tensor in sorted(tensors.items()):
            array = tensor.numpy(force=True)
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.digest()[:8]

    def _check(self) -> None:
        trained_for = self.description.get("trained_for")
        if not isinstance(trained_for, dict) or not {"lmbda", "ms_ssim_weight"} <= trained_for.keys():
            raise BalleLiError(f"{DESCRIPTION_FILE} must say trained_for with lmbda and ms_ssim_weight")
        for name in ("lmbda", "ms_ssim_weight"):
            value = trained_for[name]
            if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
                raise BalleLiError(f"{DESCRIPTION_FILE}: trained_for.{name} must be a finite number, not {value!r}")
        for name, tensor in self.model.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise BalleLiError(f"{name} holds a number that is not finite; the training diverged")
        downsampling = self.model.downsampling
        for name, module, factor in (("g_a", self.model.g_a, 1 / downsampling), ("g_s", self.model.g_s, downsampling)):
            if can_be_tiled(module) and float(scale(module)) != factor:
                raise BalleLiError(
                    f"{name} of {self.model.name} scales by {scale(module)}, its downsampling says {factor}"
                )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. Raises BalleLiError: it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise BalleLiError(f"{path} does not exist") from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise BalleLiError(f"{path} is damaged ({error}); train or fetch the model again") from None


def write_tensors(
    path: Path, model: CompressionModel, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None
) -> None:
    """Write tensors of `model`, atomically; the metadata says which model it is, and `facts`."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    identity = json.dumps({"name": model.name, **model.arguments}, sort_keys=True)
    write_bytes(path, save(plain, {"model": identity, **(facts or {})}))


def load_state(model: CompressionModel, tensors: Mapping[str, Tensor]) -> None:
    """Put the weights among `tensors` into a model of the same name and hyperparameters; tables are left out.

    Raises BalleLiError: they are not this model's.
    """
    state = {name: tensor for name, tensor in tensors.items() if not name.startswith(TABLES)}
    expected = model.state_dict()
    for name, tensor in expected.items():
        found = state.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            what = "missing" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise BalleLiError(
                f"the weight {name} is {what}, {model.name} has {tensor.dtype} {tuple(tensor.shape)}; it was written by "
                "another version of the model: train it again"
            )
    unknown = state.keys() - expected.keys()
    if unknown:
        raise BalleLiError(f"the weight {min(unknown)} is not of {model.name}; it was written by another version of it")
    with torch.no_grad():
        model.load_state_dict(state)


def _model_of(description: Any) -> ModelConfig:
    found = description.get("format") if isinstance(description, dict) else None
    if found != FORMAT:
        raise BalleLiError(
            f"{DESCRIPTION_FILE} says format {found}, this balle-li reads format {FORMAT}; train the model again, or use "
            "the balle-li that made it"
        )
    section = description.get("model")
    if not isinstance(section, dict) or not isinstance(section.get("name"), str):
        raise BalleLiError(f"{DESCRIPTION_FILE} must say model with a name")
    name = section["name"]
    if name not in MODELS.names():
        raise BalleLiError(
            f"model name {name!r} is unknown; it is known once the package is installed that has the model (entry point "
            f"{MODELS.group}); nothing is imported because a file says so"
        )
    return ModelConfig.of(section)
