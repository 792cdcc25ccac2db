"""Lightning's Trainer, with what would cost time in every step left out."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.strategies import DDPStrategy

from balle_li.training.config import TrainConfig
from balle_li.training.device import process_layout

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def make_trainer(
    config: TrainConfig, accelerator: str, precision: str, callbacks: Sequence[pl.Callback], work: Path
) -> pl.Trainer:
    """A trainer of `config.steps` steps; under torchrun, of as many processes as it started.

    Logging, checkpoints, progress and validation are the callbacks' business.
    """
    devices, machines = process_layout()
    strategy: str | DDPStrategy = "auto"
    if devices * machines > 1:
        backend = "gloo" if accelerator == "cpu" else "nccl"
        strategy = DDPStrategy(
            process_group_backend=backend, gradient_as_bucket_view=True, timeout=timedelta(minutes=10)
        )
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=machines,
        strategy=strategy,
        precision=_PRECISIONS[precision],
        max_steps=config.steps,
        max_epochs=-1,
        callbacks=list(callbacks),
        default_root_dir=work,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's announcements and its advice on data loaders, which we don't use, off the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
