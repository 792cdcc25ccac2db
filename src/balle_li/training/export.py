"""The end of a training: its best weights, with integer tables and a report, become a model folder."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from balle_li.codec.model_folder import DESCRIPTION_FILE, TENSORS_FILE, ModelFolder
from balle_li.codec.transforms import Transforms
from balle_li.config import ZOO
from balle_li.data.patch_store import PatchStore
from balle_li.files import write_json
from balle_li.models.base import CompressionModel
from balle_li.quality_map import QUALITY_SPAN, Levels, to_levels
from balle_li.training.batches import enlarged
from balle_li.training.checkpoint import load_weights, weights_file
from balle_li.training.device import choose_device, choose_precision, device_name
from balle_li.training.task import Task

TRAINING_FILE = "training.json"
MAX_PATCHES = 256  # whose symbols are counted, spread evenly over the store
_QUALITIES = 16
_SMOOTH_SIDES = 16, 4, 1  # in pixels, of what is enlarged to a patch
_SMOOTH_EVERY = 16

logger = logging.getLogger(__name__)


def export(task: Task, weights: Path, history: Mapping[str, Any], folder: Path) -> None:
    """Fill `folder` with model.safetensors, model.json and training.json. model.json comes last: a folder that has one is whole.

    weights: a file of training weights, whose facts name their `step`. history: `History.state()`. Where no step was better
    than the model folder that training started from, the model stays that one, tables and all: it decodes its streams, and it
    is trained for what it was before.
    """
    model = task.new_model()
    best_step = int(load_weights(model, weights)["step"])
    validation = next((record for record in history["validations"] if record["step"] == best_step), None)
    steps = max((record["step"] for record in (*history["training"], *history["validations"])), default=0)
    summary = {"steps": steps, "best_step": best_step, "validation": validation}
    accelerator = choose_device(task.config.device)
    machine = {"device": device_name(accelerator), "precision": choose_precision(task.config.precision, accelerator)}
    folder.mkdir(parents=True, exist_ok=True)
    trained_for = model.trained_for or {"lmbda": task.lmbda, "ms_ssim_weight": task.config.loss_ms_ssim_weight}
    start = _start(task) if best_step == 0 else None
    if start is None:
        finished = finished_model(model, PatchStore(task.patches, "train"), trained_for, summary)
    else:
        logger.info("no step was better on the validation patches than %s: the model stays that one", start)
        kept = ModelFolder.load(start)
        finished = ModelFolder.of(kept.model, kept.tables, kept.trained_for, summary)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as name:
        part = Path(name)
        finished.save(part)
        write_json(part / TRAINING_FILE, task.facts() | summary | machine | dict(history))
        (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
        for file in (TENSORS_FILE, TRAINING_FILE, DESCRIPTION_FILE):
            os.replace(part / file, folder / file)


def _start(task: Task) -> Path | None:
    """The model folder that the training started from, None where it started from scratch or from weights alone."""
    start = task.config.init_from
    if start is None or start == ZOO:
        return None
    folder = weights_file(start).parent
    return folder if (folder / DESCRIPTION_FILE).is_file() else None


def finished_model(
    model: CompressionModel, store: PatchStore, trained_for: dict[str, float], training: dict[str, Any]
) -> ModelFolder:
    """The trained model with its tables; its latent codec may count symbols on patches of `store`.

    Raises BalleLiError: a weight is not finite.
    """
    model = model.cpu().float().eval()
    tables = model.latent_codec.make_tables(training_latents(model, store))
    return ModelFolder.of(model, tables, trained_for, training)


def training_latents(model: CompressionModel, store: PatchStore) -> Iterator[tuple[NDArray[np.float32], Levels]]:
    """y (C, h, w) of patches of `store`, each with an even quality map (h, w), through the range of qualities.

    Of every 16th patch only a small part, enlarged: what is smooth or flat fills more of a large picture than of patches.
    """
    transforms = Transforms(model, torch.device("cpu"), torch.float32)
    # Neighbours in the store are of one picture; this order gives each picture many qualities.
    qualities = np.linspace(-QUALITY_SPAN, QUALITY_SPAN, _QUALITIES)
    for number, patch in enumerate(store.spread(MAX_PATCHES)):
        pixels = store[patch]
        if number % _SMOOTH_EVERY == _SMOOTH_EVERY - 1:
            side = _SMOOTH_SIDES[number // _SMOOTH_EVERY % len(_SMOOTH_SIDES)]
            pixels = enlarged(torch.from_numpy(pixels[:side, :side].copy()), len(pixels)).numpy()
        y = transforms.analyse(pixels)
        yield y, np.full(y.shape[1:], to_levels(qualities[7 * number % _QUALITIES]))
