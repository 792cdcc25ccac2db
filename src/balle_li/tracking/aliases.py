"""The aliases `champion` and `challenger` of a registered model: who has them, who had them, and how they move.

A version that becomes the champion remembers the one before it in its tag `previous_champion`, so that the champions
form a stack that rollback takes from.
"""

from typing import Any

from balle_li.errors import TrackingError
from balle_li.tracking.promotion import CHALLENGER, CHAMPION

PREVIOUS = "previous_champion"


def holder(client: Any, name: str, alias: str) -> Any | None:
    """The model version that has the alias, or None. `client` is an MlflowClient."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException:
        return None


def crown(client: Any, name: str, version: str) -> None:
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
        raise TrackingError(f"{name} has no champion to take back; `make ui` shows what is registered")
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


def uncrown(client: Any, name: str) -> tuple[str, str]:
    """Give `champion` back to the version that had it before; returns the versions (dethroned, restored).

    A restored version that was the challenger is that no longer. Raises TrackingError as `champion_before` does.
    """
    dethroned, restored = champion_before(client, name)
    client.set_registered_model_alias(name, CHAMPION, restored)
    challenger = holder(client, name, CHALLENGER)
    if challenger is not None and str(challenger.version) == restored:
        client.delete_registered_model_alias(name, CHALLENGER)
    return dethroned, restored


def write_reason(client: Any, name: str, version: str, reason: str) -> None:
    """Leave the reason of the last decision on a version: in its tag `reason` and as the first line of its description."""
    found = client.get_model_version(name, version)
    before = found.tags.get("reason")
    description = found.description or ""
    if before is not None and description.startswith(before):
        description = description[len(before) :]
    client.set_model_version_tag(name, version, "reason", reason)
    client.update_model_version(name, version, description=reason + description)
