"""Which model version is `champion` and which `challenger`: the rule, and its reason in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from balle_li.configuration import require

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

Metric = Literal["psnr", "ms_ssim_db"]
Curve = Sequence[tuple[float, float]]

_TITLES: dict[Metric, str] = {"psnr": "PSNR", "ms_ssim_db": "MS-SSIM"}


class BdRate(Protocol):
    """What promotion reads of a BD-rate: `percent` is negative where the tested curve saves bits, None where the curves
    cannot be compared; `warning` says why they hardly can."""

    @property
    def percent(self) -> float | None: ...

    @property
    def warning(self) -> str | None: ...


Compare = Callable[[Curve, Curve], BdRate]
"""The BD-rate of a tested curve (the second) against an anchor (the first), both as points (bpp, dB)."""


@dataclass(frozen=True)
class RegisterConfig:
    """Section `register` of params.yaml. A limit that is None does not limit."""

    name: str  # the registered model's name in MLflow
    metric: Metric  # the quality by which curves are compared
    max_encode_ms: float | None  # mean of the test pictures
    max_decode_ms: float | None
    max_megabytes: float | None  # of the codec's files

    def __post_init__(self) -> None:
        for name in ("max_encode_ms", "max_decode_ms", "max_megabytes"):
            limit = getattr(self, name)
            require(limit is None or limit > 0, f"{name} is {limit}, must be positive, or null for no limit")


@dataclass(frozen=True)
class Candidate:
    """What the rule looks at. `rd_cost` is lmbda * 255^2 * MSE + bpp, the mean over the test pictures `test_set`.

    points: the rate–distortion curve, each point with bpp, psnr and ms_ssim_db; one point for a model of one rate.
    """

    version: str
    lmbda: float
    rd_cost: float
    test_set: str
    points: tuple[Mapping[str, float | None], ...] = ()

    @classmethod
    def from_tags(
        cls, version: str, tags: Mapping[str, str], points: Sequence[Mapping[str, Any]]
    ) -> "Candidate | None":
        """Read a registered version's tags, its curve being `points`; None when they do not hold what the rule needs."""
        try:
            return cls(version, float(tags["lmbda"]), float(tags["rd_cost"]), tags["test_set"], tuple(points))
        except (KeyError, ValueError):
            return None

    def tags(self) -> dict[str, str]:
        """The tags from which `from_tags` reads the same candidate, as far as their digits go."""
        return {"lmbda": f"{self.lmbda:g}", "rd_cost": f"{self.rd_cost:.6g}", "test_set": self.test_set}

    def curve(self, metric: Metric) -> list[tuple[float, float]]:
        """(bpp, quality in dB) of the points that have the metric."""
        pairs = [(point.get("bpp"), point.get(metric)) for point in self.points]
        return [(bpp, quality) for bpp, quality in pairs if bpp is not None and quality is not None]


@dataclass(frozen=True)
class Decision:
    """The alias that a new version gets, None for neither, and why."""

    alias: Literal["champion", "challenger"] | None
    reason: str


def decide(
    new: Candidate,
    champion: Candidate | None,
    challenger: Candidate | None,
    costs: Mapping[str, Any],
    config: RegisterConfig,
    compare: Compare,
) -> Decision:
    """Say whether `new` becomes the champion, the challenger or neither.

    A version over a limit is neither. Models with curves are compared by BD-rate, others by their rate–distortion cost,
    which says something only at one lmbda; both only on the same pictures. Where nothing decides, the champion stays.
    The challenger is the best, by the same rule, of the versions that were compared with the champion and not promoted.

    costs: `encode_ms` and `decode_ms`, means of the test pictures, and `megabytes`, of the codec's files.
    """
    over = _over_limits(costs, config)
    if over:
        return Decision(None, f"over the limits of params.yaml: {'; '.join(over)}")
    if champion is None:
        first = f"rate–distortion cost {new.rd_cost:.4f}, the first version that can be compared"
        return Decision(CHAMPION, f"promoted: {first}")
    better, why = _better(new, champion, CHAMPION, config.metric, compare)
    if better:
        return Decision(CHAMPION, f"promoted: {why}")
    if better is None:
        return Decision(None, f"not promoted: {why}")
    if challenger is None or _better(challenger, champion, CHAMPION, config.metric, compare)[0] is None:
        return Decision(CHALLENGER, f"not promoted: {why}")
    best, against = _better(new, challenger, CHALLENGER, config.metric, compare)
    return Decision(CHALLENGER if best else None, f"not promoted: {why}; {against}")


def _over_limits(costs: Mapping[str, Any], config: RegisterConfig) -> list[str]:
    limits = (
        ("encode_ms", config.max_encode_ms, "encodes a test picture in {:.0f} ms"),
        ("decode_ms", config.max_decode_ms, "decodes a test picture in {:.0f} ms"),
        ("megabytes", config.max_megabytes, "has {:.1f} MB"),
    )
    return [
        f"{text.format(costs[name])}, register.max_{name} is {limit:g}"
        for name, limit, text in limits
        if limit is not None and costs[name] > limit
    ]


def _better(new: Candidate, other: Candidate, alias: str, metric: Metric, compare: Compare) -> tuple[bool | None, str]:
    """Whether `new` is better than `other`, which has the alias, and why; None where nothing decides."""
    name = f"version {other.version}, the {alias}"
    if new.test_set != other.test_set:
        return None, f"measured on other test pictures than {name}"
    unclear = ""
    anchor, tested = other.curve(metric), new.curve(metric)
    if min(len(anchor), len(tested)) >= 2:
        found = compare(anchor, tested)
        if found.percent is not None and found.warning is None:
            verdict = "saves bits" if found.percent < 0 else "saves no bits"
            return found.percent < 0, f"BD-rate {found.percent:+.1f} % by {_TITLES[metric]} {verdict} against {name}"
        unclear = f"; BD-rate decides nothing: {found.warning}"
    if new.lmbda != other.lmbda:
        return None, f"trained at lmbda {new.lmbda:g}, {name}, at {other.lmbda:g}{unclear}"
    better = new.rd_cost < other.rd_cost
    relation = "is lower" if better else "is not lower"
    cost = f"rate–distortion cost {new.rd_cost:.4f} {relation} than {other.rd_cost:.4f} of {name}"
    return better, cost + unclear
