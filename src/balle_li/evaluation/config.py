"""What the evaluate stage measures: the section `evaluate` of params.yaml."""

from dataclasses import dataclass
from typing import Literal

from balle_li.configuration import require
from balle_li.evaluation.classical import known_names

HEADLINE_QUALITY = 50
"""The quality whose figures stand for a model of variable rate: that of the lmbda of its training."""
TEST_SET = "test"
"""The name of the test split among the sets of pictures."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Parameters of the evaluate stage."""

    qualities: list[float]
    """Qualities, 0 to 100, at which models of variable rate are measured; 50 is always among them."""
    jpeg_qualities: list[int]
    """JPEG qualities to measure beside the model; the paper's 8, 16 and 32 are always among them."""
    codecs: list[str]
    """Classical codecs to measure beside the model and JPEG."""
    extra_sets: dict[str, str]
    """Folders of pictures to measure beside the test split, by the name that they have in the report."""
    device: Literal["auto", "cpu", "gpu"]
    """Where the model's transforms run; auto takes a GPU when there is one."""
    pictures_on_page: int
    """Rows of `pictures.png` at most."""

    def __post_init__(self) -> None:
        for quality in self.qualities:
            require(0 <= quality <= 100, f"qualities: {quality:g} is not in 0…100")
        for jpeg_quality in self.jpeg_qualities:
            require(1 <= jpeg_quality <= 95, f"jpeg_qualities: {jpeg_quality} is not in 1…95")
        for codec in self.codecs:
            require(codec in known_names(), f"codecs: {codec!r} is unknown: known are {', '.join(known_names())}")
        for name in self.extra_sets:
            plain = name.replace("-", "").replace("_", "").isalnum()
            require(plain and name != TEST_SET, f"extra_sets: {name!r} must be letters, digits, - and _, and not test")
        require(self.pictures_on_page >= 1, "pictures_on_page must be at least 1")

    @property
    def all_qualities(self) -> list[float]:
        """The configured qualities and HEADLINE_QUALITY; ascending."""
        return sorted({*self.qualities, HEADLINE_QUALITY})

    @property
    def all_jpeg_qualities(self) -> list[int]:
        """The configured qualities and those of Graham & Decoto (2019): 8, 16, 32; ascending."""
        return sorted({*self.jpeg_qualities, 8, 16, 32})
