"""Which model version is `champion`: the rule, and its reason in words."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """What the rule looks at. `rd_cost` is lmbda * 255^2 * MSE + bpp, the mean over the test pictures."""

    version: str
    lmbda: float
    rd_cost: float
    test_set: str

    @classmethod
    def from_tags(cls, version: str, tags: dict[str, str]) -> "Candidate | None":
        """Read a registered version's tags; None when they do not hold what the rule needs."""
        try:
            return cls(version, float(tags["lmbda"]), float(tags["rd_cost"]), tags["test_set"])
        except (KeyError, ValueError):
            return None

    def tags(self) -> dict[str, Any]:
        return {"lmbda": repr(self.lmbda), "rd_cost": repr(self.rd_cost), "test_set": self.test_set}


def decide(new: Candidate, champion: Candidate | None) -> tuple[bool, str]:
    """Say whether `new` takes the place of `champion`, and why.

    The cost compares models only at one lmbda and on the same pictures; where these differ the champion stays.
    """
    cost = f"rate–distortion cost {new.rd_cost:.4f}"
    if champion is None:
        return True, f"promoted: {cost}, the first version that can be compared"
    name = f"version {champion.version}, the champion"
    if new.lmbda != champion.lmbda:
        return False, f"not promoted: trained at lmbda {new.lmbda:g}, {name}, at {champion.lmbda:g}"
    if new.test_set != champion.test_set:
        return False, f"not promoted: measured on other test pictures than {name}"
    if new.rd_cost < champion.rd_cost:
        return True, f"promoted: {cost} is lower than {champion.rd_cost:.4f} of version {champion.version}"
    return False, f"not promoted: {cost} is not lower than {champion.rd_cost:.4f} of {name}"
