"""The trained codec in MLflow's registry, with its model card, promoted when it is better."""

from pathlib import Path
from typing import Any


def write_model_card(
    curated: Path,
    model: Path,
    evaluation: Path,
    mlflow_run: dict[str, str],
    register: dict[str, Any],
    parameters: dict[str, Any],
) -> str:
    from balle_li.configuration import from_mapping
    from balle_li.tracking import model_card, promotion, provenance

    config = from_mapping(promotion.RegisterConfig, register, "register")
    tags = provenance.tags()
    origin = model_card.Origin(config.name, mlflow_run["run_id"], parameters, tags)
    return model_card.write_card(model, curated, evaluation, origin)


def register(
    model: Path,
    evaluation: Path,
    model_card: str,
    mlflow_run: dict[str, str],
    register: dict[str, Any],
    parameters: dict[str, Any],
) -> dict[str, Any]:
    from balle_li.configuration import from_mapping
    from balle_li.evaluation.bd_rate import bd_rate
    from balle_li.tracking import promotion, provenance, registry, run

    config = from_mapping(promotion.RegisterConfig, register, "register")
    with run.attached(mlflow_run["run_id"], parameters, provenance.tags()):
        return registry.register(config, model, evaluation, model_card, bd_rate)
