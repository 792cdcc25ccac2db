"""What the evaluate stage measures: the section `evaluate` of params.yaml."""

from dataclasses import dataclass
from typing import Literal

from balle_li.configuration import require


@dataclass(frozen=True)
class EvaluationConfig:
    """Parameters of the evaluate stage."""

    jpeg_qualities: list[int]
    """JPEG qualities to measure beside the model; the paper's 8, 16 and 32 are always among them."""
    device: Literal["auto", "cpu", "gpu"]
    """Where the model's transforms run; auto takes a GPU when there is one."""
    pictures_on_page: int
    """Rows of `pictures.png` at most."""

    def __post_init__(self) -> None:
        for quality in self.jpeg_qualities:
            require(1 <= quality <= 95, f"jpeg_qualities: {quality} is not in 1…95")
        require(self.pictures_on_page >= 1, "pictures_on_page must be at least 1")

    @property
    def all_jpeg_qualities(self) -> list[int]:
        """The configured qualities and those of Graham & Decoto (2019): 8, 16, 32; ascending."""
        return sorted({*self.jpeg_qualities, 8, 16, 32})
