"""Give `champion` back to the version that had it before: ``python -m balle_li.tracking.rollback``.

Whoever gives a reason means it; without one the command says what it would do, and does it when `--yes` is added.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from balle_li.errors import BalleLiError, TrackingError
from balle_li.files import project_home
from balle_li.tracking import promotion
from balle_li.tracking.connection import connect, database_lock


def main(arguments: Sequence[str] | None = None) -> int:
    """Roll back and say what was done. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m balle_li.tracking.rollback",
        description="Give the alias champion back to the model version that had it before.",
    )
    parser.add_argument("--name", help="the registered model; default: register.name of params.yaml")
    parser.add_argument("--reason", default="", help="why, for the versions' history")
    parser.add_argument("--yes", action="store_true", help="do it without a reason")
    options = parser.parse_args(arguments)
    try:
        name = options.name or _registered_name(project_home() / "params.yaml")
        if not (options.yes or options.reason.strip()):
            champion, before = promotion.champion_before(connect().MlflowClient(), name)
            print(
                f"Nothing is done yet. This would make version {before} the champion of {name} in place of version "
                f'{champion}: say why (make rollback REASON="…"), or that it is meant (make rollback YES=1)'
            )
            return 1
        demoted, restored = rollback(name, options.reason)
    except BalleLiError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name}: version {restored} is the champion again, version {demoted} no longer")
    return 0


def rollback(name: str, reason: str = "") -> tuple[str, str]:
    """Restore the champion before; both versions get the reason. Returns the versions (demoted, restored).

    Raises TrackingError: the registry has no such model, or there is no version to go back to.
    """
    client = connect().MlflowClient()
    with database_lock():
        demoted, restored = promotion.demote(client, name)
        why = f" ({' '.join(reason.split())})" if reason.strip() else ""
        day = datetime.now(UTC).date().isoformat()
        promotion.write_reason(client, name, demoted, f"rolled back on {day}: version {restored} restored{why}")
        promotion.write_reason(client, name, restored, f"restored on {day}: version {demoted} rolled back{why}")
        client.set_model_version_tag(name, demoted, "promoted", "false")
    return demoted, restored


def _registered_name(params: Path) -> str:
    import yaml

    try:
        return str(yaml.safe_load(params.read_text())["register"]["name"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise TrackingError(f"{params} does not say register.name; name the model with --name") from None


if __name__ == "__main__":
    sys.exit(main())
