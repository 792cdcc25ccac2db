"""How to train."""

from dataclasses import dataclass
from typing import Literal

from balle_li.configuration import require
from balle_li.training.schedule import ScheduleName


@dataclass(frozen=True)
class TrainConfig:
    """Section `train` of params.yaml."""

    steps: int
    batch_size: int  # of all processes together
    crop: int  # side of the square cut from each patch at every step
    lr: float  # Adam's learning rate, at its highest; the transforms take a quarter of it
    lr_from_weights: float  # in its place when the training starts from weights
    schedule: ScheduleName
    warmup: float  # share of the steps in which the learning rate rises
    clip: float  # largest norm of the gradient; 0 turns clipping off
    lmbda_box: float  # weight of the squared error inside boxes, beside lmbda
    structure: float  # weight of the structural error, in units of lmbda
    device: Literal["auto", "cpu", "gpu"]
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool  # let torch.compile fuse the model and its loss
    checkpoint_minutes: float
    validate_every: int  # steps
    patience: int  # validations in a row that are no better, after which training stops early; 0 never stops it
    soft: float  # share of the steps, from nothing, in which a decoder of variable rate gets noise in place of rounded latents
    init_from: str | None  # a model folder, or its training weights, to start from

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps is {self.steps}, must be at least 1")
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}, must be at least 1")
        require(self.crop >= 16, f"crop is {self.crop}, must be at least 16")
        require(0 < self.lr < 1, f"lr is {self.lr}, must be between 0 and 1")
        require(0 < self.lr_from_weights < 1, f"lr_from_weights is {self.lr_from_weights}, must be between 0 and 1")
        require(0 <= self.warmup < 1, f"warmup is {self.warmup}, must be at least 0 and below 1")
        require(self.clip >= 0, f"clip is {self.clip}, must not be negative")
        require(self.lmbda_box >= 0, f"lmbda_box is {self.lmbda_box}, must not be negative")
        require(self.structure >= 0, f"structure is {self.structure}, must not be negative")
        require(self.checkpoint_minutes > 0, f"checkpoint_minutes is {self.checkpoint_minutes}, must be positive")
        require(self.validate_every >= 1, f"validate_every is {self.validate_every}, must be at least 1")
        require(0 <= self.soft <= 1, f"soft is {self.soft}, must be between 0 and 1")
        require(self.patience >= 0, f"patience is {self.patience}, must not be negative")

    @property
    def soft_steps(self) -> int:
        """The first so many steps are soft; none where training starts from weights, which know of rounding."""
        return int(self.soft * self.steps) if self.init_from is None else 0

    @property
    def highest_lr(self) -> float:
        """The highest learning rate of this training."""
        return self.lr if self.init_from is None else self.lr_from_weights
