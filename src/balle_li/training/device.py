"""Where training runs and in which precision: what `auto` stands for on this machine."""

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from balle_li.codec.transforms import fastest_dtype
from balle_li.errors import TrainingError

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def choose_device(device: str) -> str:
    """Lightning's accelerator name for `auto | cpu | gpu`. Raises TrainingError: a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if device == "gpu" and not available:
        raise TrainingError("train.device is gpu, but torch finds no usable GPU; set train.device to auto or cpu")
    return "cpu" if device == "cpu" or not available else "gpu"


def choose_precision(precision: str, accelerator: str) -> str:
    """`fp32` or `bf16` for `auto | fp32 | bf16`: auto is whichever the device multiplies faster."""
    if precision != "auto":
        return precision
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    return "bf16" if fastest_dtype(device) is torch.bfloat16 else "fp32"


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """Lightning's Fabric on `cpu` or `gpu`, in `fp32` or `bf16`; under torchrun, of as many processes as it started."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce every process
    devices, machines = process_layout()
    strategy: str | DDPStrategy = "auto"
    if devices * machines > 1:
        # The new name is not known to every torch that is allowed.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        strategy = DDPStrategy(
            process_group_backend="gloo" if accelerator == "cpu" else "nccl",
            timeout=timedelta(minutes=10),
            gradient_as_bucket_view=True,
            broadcast_buffers=False,
        )
    fabric = Fabric(
        accelerator=accelerator, devices=devices, num_nodes=machines, strategy=strategy,
        precision=_PRECISIONS[precision],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        fabric.launch()
    return fabric


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Within, products of fp32 matrices may be computed in bf16 where `precision` is `bf16`.

    For the optimizer's steps alone: SOAP's rotations are a fifth of a training step, and take two thirds of the time in bf16.
    """
    before = torch.get_float32_matmul_precision()
    if precision == "bf16":
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def device_name(accelerator: str) -> str:
    """For people: the GPU's name, or `cpu` and the number of threads."""
    return torch.cuda.get_device_name() if accelerator == "gpu" else f"cpu, {torch.get_num_threads()} threads"


def process_layout() -> tuple[int, int]:
    """(processes on this machine, machines), from the environment that torchrun sets; (1, 1) without it."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return local, int(os.environ.get("WORLD_SIZE", 1)) // local


def keep_freed_memory() -> None:
    """Let glibc's malloc reuse freed blocks of any size instead of returning them to the system.

    A training step on a CPU frees and allocates the same few hundred megabytes of activations over and over; fetching
    them again costs thousands of page faults, 7 % of the step.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 2**30)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
