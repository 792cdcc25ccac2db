"""Which model version is `champion` and which `challenger`: the rule, its reason in words, and how the aliases move."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from balle_li.config import RegisterConfig
from balle_li.errors import TrackingError
from balle_li.evaluation.metrics import facts_of_curve
from balle_li.evaluation.published import KIND_TITLES, kinds_differ

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS = "previous_champion"
"""The tag in which a champion keeps the version before it: the champions are a stack, from which rollback takes."""

Curve = Sequence[tuple[float, float]]

_FEW_PICTURES = 20
"""With fewer test pictures than this, which are chosen by chance, the reason says how many there were."""


_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes where a registered model, and where its alias, is not there."""


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
class Candidate:
    """What the rule looks at. `rd_cost` is lmbda * 255^2 * MSE + bpp, the mean over the test pictures `test_set`.

    points: the rate–distortion curve, each point with bpp, psnr and ms_ssim_db; one point for a model of one rate.
    kind: one of KIND_TITLES; None for a version that was registered without it, which is held against any other.
    """

    version: str
    lmbda: float
    rd_cost: float
    test_set: str
    points: tuple[Mapping[str, float | None], ...] = ()
    kind: str | None = None

    @classmethod
    def from_tags(
        cls, version: str, tags: Mapping[str, str], points: Sequence[Mapping[str, Any]]
    ) -> "Candidate | None":
        """Read a registered version's tags, its curve being `points`; None when they do not hold what the rule needs."""
        kind = tags.get("kind")
        try:
            return cls(
                version,
                float(tags["lmbda"]),
                float(tags["rd_cost"]),
                tags["test_set"],
                tuple(points),
                kind if kind in KIND_TITLES else None,
            )
        except (KeyError, ValueError):
            return None

    def tags(self) -> dict[str, str]:
        """The tags from which `from_tags` reads the same candidate; lmbda in full, since costs compare at equal ones."""
        tags = {"lmbda": repr(self.lmbda), "rd_cost": f"{self.rd_cost:.6g}", "test_set": self.test_set}
        return tags if self.kind is None else tags | {"kind": self.kind}

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """(bpp, quality) of the points that have the metric; of one of which less is better, with the sign turned."""
        facts = facts_of_curve(metric)
        sign = 1 if facts.higher_is_better else -1
        pairs = [(point.get("bpp"), point.get(facts.curve)) for point in self.points]
        return [(bpp, sign * quality) for bpp, quality in pairs if bpp is not None and quality is not None]


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
    which says something only at one lmbda; both only on the same pictures, and for models of one kind. To be better a version
    has to save `config.min_gain` of the bits or of the cost. Where neither can be compared, the champion stays.
    The challenger is the best, by the same rule, of the versions that were compared with the champion and not promoted.

    costs: `encode_ms` and `decode_ms`, means of the test pictures; `megabytes`, of the codec's files; `pictures`, the number
    of test pictures.
    """
    over = _over_limits(costs, config)
    if over:
        return Decision(None, f"over the limits of params.yaml: {'; '.join(over)}")
    if champion is None:
        first = f"rate–distortion cost {new.rd_cost:.4f}, the first version that can be compared"
        return Decision(CHAMPION, f"promoted: {first}")
    better, why = _better(new, champion, CHAMPION, config, compare)
    if better is not None and costs["pictures"] < _FEW_PICTURES:
        why += f" ({costs['pictures']} test pictures are few: chance may decide)"
    if better:
        return Decision(CHAMPION, f"promoted: {why}")
    if better is None:
        return Decision(None, f"not promoted: {why}")
    if challenger is None or _better(challenger, champion, CHAMPION, config, compare)[0] is None:
        return Decision(CHALLENGER, f"not promoted: {why}")
    best, against = _better(new, challenger, CHALLENGER, config, compare)
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


def _better(
    new: Candidate, other: Candidate, alias: str, config: RegisterConfig, compare: Compare
) -> tuple[bool | None, str]:
    """Whether `new` is better than `other`, which has the alias, and why; None where they cannot be compared."""
    name = f"version {other.version}, the {alias}"
    if new.test_set != other.test_set:
        return None, f"measured on other test pictures than {name}"
    if kinds_differ(new.kind, other.kind):
        return None, _unlike(new, other, alias)
    unclear = ""
    anchor, tested = other.curve(config.metric), new.curve(config.metric)
    too_little = f"less than register.min_gain, {100 * config.min_gain:g} %,"
    if min(len(anchor), len(tested)) >= 2:
        found = compare(anchor, tested)
        if found.percent is not None and found.warning is None:
            better = found.percent < 0 and -found.percent >= 100 * config.min_gain
            effect = "saves bits" if better else f"saves {too_little}" if found.percent < 0 else "saves no bits"
            return (
                better,
                f"BD-rate {found.percent:+.1f} % by {facts_of_curve(config.metric).title} {effect} against {name}",
            )
        unclear = f"; BD-rate cannot decide: {found.warning}"
    if new.lmbda != other.lmbda:
        return None, f"trained at lmbda {new.lmbda:g}, {name}, at {other.lmbda:g}{unclear}"
    lower = new.rd_cost < other.rd_cost
    better = lower and new.rd_cost <= other.rd_cost * (1 - config.min_gain)
    relation = "is lower" if better else f"is lower by {too_little}" if lower else "is not lower"
    cost = f"rate–distortion cost {new.rd_cost:.4f} {relation} than {other.rd_cost:.4f} of {name}"
    return better, cost + unclear


def _unlike(new: Candidate, other: Candidate, alias: str) -> str:
    """What the two were trained for, and what to do about it where the other is the champion."""
    own, others = (KIND_TITLES[kind] for kind in (new.kind, other.kind) if kind is not None)
    what = f"trained for {own}, version {other.version}, the {alias}, for {others}, which are not compared"
    if alias != CHAMPION:
        return what
    return (
        f"{what}; give it a registered name of its own (-S register.name=…), or take the alias from version "
        f"{other.version}: `make rollback`, or delete it in `make ui`"
    )


def holder(client: Any, name: str, alias: str) -> Any | None:
    """The model version that has the alias, or None where no version has it. `client` is an MlflowClient.

    Raises TrackingError: MLflow cannot say it, so that nobody takes an alias from a version that was not seen.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in _MISSING:
            return None
        first_line = str(error).splitlines()[0]
        raise TrackingError(
            f"MLflow cannot say which version of {name} is the {alias} ({first_line}); repeat the command when it can"
        ) from error


def promote(client: Any, name: str, version: str) -> None:
    """Make `version` the champion and let it remember the one it replaces."""
    before = holder(client, name, CHAMPION)
    if before is not None:
        client.set_model_version_tag(name, version, PREVIOUS, str(before.version))
    client.set_registered_model_alias(name, CHAMPION, version)


def challenge(client: Any, name: str, version: str) -> None:
    """Make `version` the challenger."""
    client.set_registered_model_alias(name, CHALLENGER, version)


def champion_before(client: Any, name: str) -> tuple[str, str]:
    """The versions (champion, the one that had the alias before it).

    Raises TrackingError: there is no champion, no version before it, or that version was deleted.
    """
    from mlflow.exceptions import MlflowException

    champion = holder(client, name, CHAMPION)
    if champion is None:
        raise TrackingError(f"{name} has no champion to demote; `make ui` shows what is registered")
    version, before = str(champion.version), champion.tags.get(PREVIOUS)
    if before is None:
        raise TrackingError(f"version {version} of {name} is its first champion: there is no version to go back to")
    try:
        client.get_model_version(name, before)
    except MlflowException:
        raise TrackingError(
            f"version {before} of {name}, the champion before {version}, was deleted; "
            "give the alias champion to another version in `make ui`"
        ) from None
    return version, str(before)


def demote(client: Any, name: str) -> tuple[str, str]:
    """Give `champion` back to the version that had it before; returns the versions (demoted, restored).

    A restored version that was the challenger is that no longer. Raises TrackingError as `champion_before` does.
    """
    demoted, restored = champion_before(client, name)
    client.set_registered_model_alias(name, CHAMPION, restored)
    challenger = holder(client, name, CHALLENGER)
    if challenger is not None and str(challenger.version) == restored:
        client.delete_registered_model_alias(name, CHALLENGER)
    return demoted, restored


def write_reason(client: Any, name: str, version: str, reason: str) -> None:
    """Leave the reason of the last decision on a version: in its tag `reason` and as the first line of its description."""
    found = client.get_model_version(name, version)
    before = found.tags.get("reason")
    description = found.description or ""
    if before is not None and description.startswith(before):
        description = description[len(before) :]
    client.set_model_version_tag(name, version, "reason", reason)
    client.update_model_version(name, version, description=reason + description)
