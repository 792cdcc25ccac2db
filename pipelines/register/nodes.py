"""The trained codec in MLflow's registry, promoted when it is better."""

from pathlib import Path
from typing import Any


def register(
    model: Path, evaluation: Path, mlflow_run: dict[str, str], register: dict[str, Any], parameters: dict[str, Any]
) -> dict[str, Any]:
    from balle_li.configuration import from_mapping
    from balle_li.files import read_json
    from balle_li.tracking import provenance, registry, run

    config = from_mapping(registry.RegisterConfig, register, "register")
    description = read_json(model / "model.json")
    facts = {"model": description["name"], "lmbda": description["lmbda"]}
    with run.attached(mlflow_run["run_id"], parameters, provenance.tags(Path.cwd())):
        return registry.register(config.name, model, read_json(evaluation / "metrics.json"), facts)
