"""Training steps per second: our engine beside CompressAI's published recipe, on the same model, pictures and machine.

python benchmarks/training.py [FOLDER] [--model balle] [--N 64] [--batch 16] [--crop 128] [--steps 100] [--rounds 3]
    [--device auto] [--compile] [--precisions]

--model names one of CompressAI's (`bmshj2018-hyperprior`), which both then train as it is, or `balle`, which the recipe trains
of CompressAI's layers.

The recipe is written from CompressAI's documentation of its training example: a DataLoader whose workers decode a picture
for every crop, fp32, Adam on the model, a second Adam on the quantiles' auxiliary loss, clipping at 1.0. The two take
turns, so that what else the machine does falls on both. Where much else runs, the processor's seconds say more than the
clock's: those of all threads and of the DataLoader's processes. A table then shows where a step of ours spends its time.
--compile lets our engine with train.compile take turns too, --precisions our engine in the other of fp32 and bf16.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from compressai.layers import GDN
from compressai.models import FactorizedPrior
from compressai.zoo.image import model_architectures
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import RandomCrop
from torchvision.transforms.functional import to_tensor

from balle_li.config import TrainConfig, read
from balle_li.data.patch_store import FORMAT, INDEX_SCHEMA, PatchStore, shard_name
from balle_li.image_io import read_picture
from balle_li.models.base import build
from balle_li.progress import NoLog
from balle_li.registry import ModelConfig
from balle_li.training.batches import CropSource
from balle_li.training.device import choose_device, choose_precision
from balle_li.training.loop import TrainingStep, train
from balle_li.training.loss import RateDistortionLoss
from balle_li.training.optimizer import make_optimizer
from balle_li.training.task import Task

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
PATCH = 256
LMBDA = 0.01


@dataclass(frozen=True)
class Setting:
    pictures: list[Path]
    store: Path
    model: ModelConfig
    config: TrainConfig
    device: torch.device


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed beside CompressAI's published recipe")
    parser.add_argument("folder", nargs="?", type=Path, default=PHOTOS, help="pictures; default: ../shared/photos")
    parser.add_argument("--model", default="balle", help="balle, or one of CompressAI's")
    parser.add_argument("--N", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help="of each, in every round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--compile", action="store_true", help="time train.compile too")
    parser.add_argument("--precisions", action="store_true", help="time the other of fp32 and bf16 too")
    arguments = parser.parse_args()
    pictures = sorted(path for path in arguments.folder.rglob("*") if path.suffix in (".webp", ".png", ".jpg"))
    if not pictures:
        parser.error(f"{arguments.folder} holds no pictures; name a folder of WebP, PNG or JPEG files")
    with tempfile.TemporaryDirectory() as place:
        setting = Setting(
            pictures,
            write_store(pictures, Path(place) / "patches"),
            ModelConfig(arguments.model, {"N": arguments.N}),
            train_config(arguments),
            torch.device("cuda" if choose_device(arguments.device) == "gpu" else "cpu"),
        )
        variants = variants_of(setting.config, arguments)
        ours, recipe = [], []
        others: dict[str, list[Rate]] = {name: [] for name in variants}
        for number in range(arguments.rounds):
            ours.append(engine_rate(setting, Path(place) / f"round-{number}"))
            recipe.append(recipe_rate(setting))
            print(f"round {number + 1}: engine {ours[-1].steps:.2f}, recipe {recipe[-1].steps:.2f} steps/s", flush=True)
            for name, config in variants.items():
                others[name].append(engine_rate(replace(setting, config=config), Path(place) / f"{name}-{number}"))
        print_rates(setting, ours, recipe)
        for name, rates in others.items():
            print(f"{name:23s} {median(rates).steps:7.2f} steps/s, {ratio(rates, ours).steps:.2f} times as many")
        print_table(setting, median(ours).steps)


class Rate(NamedTuple):
    """steps: a second. processor: steps in a second of one processor's time."""

    steps: float
    processor: float


def variants_of(config: TrainConfig, arguments: argparse.Namespace) -> dict[str, TrainConfig]:
    """Other ways to run our engine, by name."""
    variants = {}
    if arguments.compile:
        variants["compiled"] = replace(config, compile=True)
    if arguments.precisions:
        other: Literal["fp32", "bf16"] = "fp32" if precision_of(config) == "bf16" else "bf16"
        variants[other] = replace(config, precision=other)
    return variants


def precision_of(config: TrainConfig) -> str:
    return choose_precision(config.precision, choose_device(config.device))


def train_config(arguments: argparse.Namespace) -> TrainConfig:
    """Those of params.yaml, but as plain as the recipe: a constant learning rate, and the paper's loss without boxes."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    shape = {
        "steps": arguments.steps,
        "batch_size": arguments.batch,
        "crop": arguments.crop,
        "device": arguments.device,
    }
    plain = {
        "lr": 1e-4,
        "schedule": "constant",
        "warmup": 0.0,
        "lmbda_box": 0.0,
        "tune": "psnr",
        "optimizer": "adam",
        "init_from": None,
    }
    return read(TrainConfig, settings | shape | plain | {"validate_every": 10**9}, "train")


def write_store(pictures: list[Path], folder: Path) -> Path:
    """A patch store with the centre of every picture, and no validation patches."""
    for split, chosen in (("train", pictures), ("validation", [])):
        (folder / split).mkdir(parents=True)
        patches = np.zeros((len(chosen), PATCH, PATCH, 3), np.uint8)
        for patch, path in zip(patches, chosen, strict=True):
            image = np.asarray(read_picture(path))
            top, left = (image.shape[0] - PATCH) // 2, (image.shape[1] - PATCH) // 2
            patch[...] = image[top : top + PATCH, left : left + PATCH]
        np.save(folder / split / shard_name(0), patches)
        rows = [
            {"patch": i, "shard": 0, "row": i, "image_id": path.stem, "x": 0, "y": 0, "scale": 1.0, "boxes": []}
            for i, path in enumerate(chosen)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / split / "index.parquet")
    splits = {"train": {"shards": [len(pictures)]}, "validation": {"shards": [0]}}
    (folder / "patches.json").write_text(json.dumps({"format": FORMAT, "size": PATCH, "splits": splits}))
    return folder


def engine_rate(setting: Setting, place: Path) -> Rate:
    """Steps per second of our engine, its first few left out."""

    class Rates(NoLog):
        def __init__(self) -> None:
            self.values: list[float] = []
            self.marks: list[tuple[int, float]] = []

        def metrics(self, step: int, values: dict[str, float]) -> None:
            self.values.append(values["train/steps_per_second"])
            self.marks.append((step, processor_seconds()))

    log = Rates()
    task = Task(setting.store, setting.model, setting.config, LMBDA, {}, 0)
    train(task, place / "model", place / "work", log)
    (first, before), (last, after) = log.marks[0], log.marks[-1]
    steps = statistics.harmonic_mean(log.values[1:])  # every value is of as many steps
    return Rate(steps, (last - first) / (after - before))


class Pictures(Dataset[Tensor]):
    """Decodes a picture and cuts one crop from it, as an image folder does."""

    def __init__(self, paths: list[Path], crop: int) -> None:
        self.paths, self.crop = paths, RandomCrop(crop)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = to_tensor(self.crop(read_picture(self.paths[index])))
        return image


class Bls2017(FactorizedPrior):
    """`balle` of CompressAI's own layers."""

    def __init__(self, N: int) -> None:
        super().__init__(N, N)

        def conv(inputs: int, kernel: int, stride: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, N, kernel, stride, kernel // 2)

        def deconv(outputs: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(N, outputs, kernel, stride, kernel // 2, stride - 1)

        self.g_a = nn.Sequential(conv(3, 9, 4), GDN(N), conv(N, 5, 2), GDN(N), conv(N, 5, 2))
        self.g_s = nn.Sequential(deconv(N, 5, 2), GDN(N, True), deconv(N, 5, 2), GDN(N, True), deconv(3, 9, 4))


def recipes_model(model: ModelConfig) -> Any:
    """What CompressAI calls the model that our engine trains."""
    if model.name == "balle":
        return Bls2017(model.arguments["N"])
    net: Any = build(model).latent_codec.net  # of the same sizes
    sizes = [net.N] if model.name.startswith("cheng") else [net.N, net.M]
    return model_architectures[model.name](*sizes)


def recipe_rate(setting: Setting) -> Rate:
    """Steps per second of the published recipe, the first few left out."""
    config, device = setting.config, setting.device
    model = recipes_model(setting.model).to(device)
    weights = [weight for name, weight in model.named_parameters() if not name.endswith("quantiles")]
    optimizer = torch.optim.Adam(weights, lr=1e-4)
    quantiles = [weight for name, weight in model.named_parameters() if name.endswith("quantiles")]
    auxiliary = torch.optim.Adam(quantiles, lr=1e-3)
    many = Pictures(setting.pictures * -(-config.batch_size * config.steps // len(setting.pictures)), config.crop)
    loader = DataLoader(
        many, config.batch_size, shuffle=True, num_workers=4, pin_memory=device.type == "cuda", drop_last=True
    )
    warm_up = max(2, config.steps // 20)
    start = before = 0.0
    for step, batch in enumerate(loader):
        if step == warm_up:
            start, before = now(device), processor_seconds()
        x = batch.to(device)
        optimizer.zero_grad()
        auxiliary.zero_grad()
        output = model(x)
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        bpp = sum(torch.log(latent).sum() for latent in output["likelihoods"].values()) / (-np.log(2) * pixels)
        loss = LMBDA * 255**2 * nn.functional.mse_loss(output["x_hat"], x) + bpp
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.aux_loss().backward()
        auxiliary.step()
        if step + 1 == config.steps:
            break
    measured = config.steps - warm_up
    return Rate(measured / (now(device) - start), measured / (processor_seconds() - before))


def processor_seconds() -> float:
    """Those of this process's threads, and of its children."""
    own = psutil.Process()
    times = own.cpu_times()
    finished = times.children_user + times.children_system
    return float(finished + sum(part.user + part.system for part in (times, *_running(own))))


def _running(process: psutil.Process) -> Iterator[Any]:
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            yield child.cpu_times()


def print_rates(setting: Setting, ours: list[Rate], recipe: list[Rate]) -> None:
    config, where = setting.config, str(setting.device)
    if setting.device.type == "cuda":
        where = torch.cuda.get_device_name(setting.device)
    shape = f"batch {config.batch_size}×{config.crop}×{config.crop}"
    threads, channels = torch.get_num_threads(), setting.model.arguments["N"]
    print(f"\n{setting.model.name}, N = {channels}, {shape}, {where}, {threads} threads; medians of {len(ours)} rounds")
    first, second, relative = median(ours), median(recipe), ratio(ours, recipe)
    print(
        f"engine ({precision_of(config)})         {first.steps:7.2f} steps/s, {first.processor:7.2f} a processor's second"
    )
    print(f"published recipe (fp32) {second.steps:7.2f} steps/s, {second.processor:7.2f} a processor's second")
    print(f"ratio                   {relative.steps:7.2f}          {relative.processor:7.2f}")


def median(rates: list[Rate]) -> Rate:
    return Rate(*map(statistics.median, zip(*rates, strict=True)))


def ratio(rates: list[Rate], others: list[Rate]) -> Rate:
    """The medians over the rounds."""
    return median([Rate(a.steps / b.steps, a.processor / b.processor) for a, b in zip(rates, others, strict=True)])


def print_table(setting: Setting, steps_per_second: float) -> None:
    """The parts of a step, each waited for; what is left of the engine's step is Fabric's, the curves' and overlap."""
    parts = parts_of_a_step(setting)
    print("\npart of a step        ms   fraction")
    whole = sum(parts.values())
    for name, milliseconds in parts.items():
        print(f"{name:20s} {milliseconds:7.2f}  {milliseconds / whole:5.0%}")
    print(f"{'together':20s} {whole:7.2f}")
    print(f"{'a step of the engine':20s} {1000 / steps_per_second:7.2f}")


def parts_of_a_step(setting: Setting) -> dict[str, float]:
    """Median milliseconds of each part, run one after the other."""
    config, device = setting.config, setting.device
    source = CropSource(PatchStore(setting.store, "train"), config.crop, config.batch_size, 0, None)
    model = build(setting.model).to(device)
    model.to(memory_format=model.memory_format)
    module = TrainingStep(model, RateDistortionLoss(LMBDA, 0.0))
    optimizer = make_optimizer(model, config.optimizer, config.highest_lr)
    bf16 = precision_of(config) == "bf16"
    entropy = timed_forward(model.latent_codec, device)
    times: dict[str, list[float]] = {
        name: [] for name in ("data", "transforms and loss", "entropy model", "backward", "optimizer")
    }
    for step in range(max(10, config.steps // 2)):
        entropy.clear()
        marks = [now(device)]
        batch = source.batch(step)
        marks.append(now(device))
        with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
            loss = module(batch.images.to(device), None, None)["loss"]
        marks.append(now(device))
        optimizer.zero_grad()
        loss.backward()
        marks.append(now(device))
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        marks.append(now(device))
        data, forward, backward, update = np.diff(marks)
        for name, seconds in zip(times, (data, forward - sum(entropy), sum(entropy), backward, update), strict=True):
            times[name].append(1000 * seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def timed_forward(module: nn.Module, device: torch.device) -> list[float]:
    """Seconds of every call of `module.forward` from now on, appended to the list that is returned."""
    seconds: list[float] = []
    forward: Callable[..., object] = module.forward

    def timed(*arguments: object) -> object:
        start = now(device)
        result = forward(*arguments)
        seconds.append(now(device) - start)
        return result

    module.forward = timed
    return seconds


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
