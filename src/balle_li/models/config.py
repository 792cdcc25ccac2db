"""Which model to build."""

from dataclasses import dataclass

from balle_li.configuration import require
from balle_li.models.registry import check_name


@dataclass(frozen=True)
class ModelConfig:
    """Section `model` of params.yaml."""

    name: str  # one of registry.names()
    N: int  # channels of the transforms and of the latents

    def __post_init__(self) -> None:
        check_name(self.name)
        require(1 <= self.N <= 1024, f"N is {self.N}, must be between 1 and 1024")
