"""Two trainings at once on the same cores: how much longer than one takes each, with threads that wait and that spin.

python benchmarks/two_at_once.py [--model balle-li-roi] [--N 16] [--batch 16] [--crop 64] [--steps 100] [--rounds 3]
    [--ways passive spinning default]

OpenMP's threads spin while they wait for each other, unless they are told to sleep, as balle_li/settings.py tells those of
every `kedro run`. Two trainings that spin keep each other from the cores. Steps are the engine's own, on random pictures.
Beside other work the time says little; the processor time says what spinning wastes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[1] / "src"
WAYS = {"passive": "PASSIVE", "spinning": "ACTIVE", "default": None}
"""What OMP_WAIT_POLICY is. The default spins for a while, where there are no more threads than cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Two trainings at once on the same cores, beside one.")
    parser.add_argument("--model", default="balle-li-roi")
    parser.add_argument("--N", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    found: dict[str, dict[int, list[Seconds]]] = {way: {1: [], 2: []} for way in options.ways}
    for number in range(options.rounds):
        for way in options.ways:
            for count in (1, 2):
                found[way][count].append(seconds_of(count, WAYS[way]))
            one, two = (found[way][count][-1] for count in (1, 2))
            print(f"round {number + 1}, {way}: one {one.wall:.1f} s, two {two.wall:.1f} s", flush=True)
    for way, times in found.items():
        wall, processor = (
            [statistics.median(getattr(seconds, kind) for seconds in times[count]) for count in (1, 2)]
            for kind in ("wall", "processor")
        )
        print(
            f"{way:9} two at once take {wall[1] / wall[0]:.2f} times as long as one ({wall[0]:.1f} s), and each "
            f"{processor[1] / processor[0]:.2f} times its processor time ({processor[0]:.1f} s)"
        )


class Seconds(NamedTuple):
    """wall: until the last training has made its steps. processor: what one of them took of the processors for that."""

    wall: float
    processor: float


def seconds_of(count: int, policy: str | None) -> Seconds:
    """What `count` trainings take that start together."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"PYTHONPATH": str(SOURCE)} | ({} if policy is None else {"OMP_WAIT_POLICY": policy})
    command = [sys.executable, __file__, *sys.argv[1:], "--worker"]
    workers = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    start = time.monotonic()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    processor = [float(worker.communicate()[0]) for worker in workers]
    return Seconds(time.monotonic() - start, statistics.mean(processor))


def work(options: argparse.Namespace) -> None:
    """Make a few steps, say that all is ready, and make the steps that count when told to."""
    import torch

    from balle_li.models.base import build
    from balle_li.registry import ModelConfig
    from balle_li.training.loop import TrainingStep
    from balle_li.training.loss import RateDistortionLoss
    from balle_li.training.optimizer import make_optimizer

    model = build(ModelConfig(options.model, {"N": options.N}))
    step = TrainingStep(model, RateDistortionLoss(0.01, 0.0, 0.0))
    optimizer = make_optimizer(model, "adam", 1e-4)
    images = torch.randint(256, (options.batch, options.crop, options.crop, 3), dtype=torch.uint8)
    side = options.crop // model.downsampling
    r = torch.zeros(options.batch, 1, side, side) if model.latent_codec.variable_rate else None

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            step(images, None, r)["loss"].backward()
            optimizer.step()

    steps(3)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.process_time()
    steps(options.steps)
    print(time.process_time() - start)


if __name__ == "__main__":
    main()
