"""The trained codec in MLflow's registry, with its model card, promoted when it is better."""

from pathlib import Path
from typing import Any


def register(
    curated: Path,
    model: Path,
    evaluation: Path,
    mlflow_run: dict[str, str],
    register: dict[str, Any],
    parameters: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    """What was decided about the new version, and its model card, which names that version."""
    from balle_li.comparison.curves import bd_rate
    from balle_li.config import RegisterConfig, read
    from balle_li.tracking import model_card, registry, run

    config = read(RegisterConfig, register, "register")
    tags = run.origin_tags()

    def card(version: str) -> str:
        origin = model_card.Origin(config.name, version, mlflow_run["run_id"], parameters, tags)
        return model_card.write_card(model, curated, evaluation, origin)

    with run.attached(mlflow_run["run_id"], parameters, tags, "register"):
        registration = registry.register(config, model, evaluation, card, bd_rate)
    return registration, card(registration["version"])
