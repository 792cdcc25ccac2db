"""The model registry: versions with signature, example and figures, and the alias `champion`."""

import io
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from balle_li.errors import TrackingError
from balle_li.tracking.connection import connect, database_lock
from balle_li.tracking.promotion import Candidate, decide

CHAMPION = "champion"
REQUIREMENTS = ("torch", "numpy", "pillow", "constriction", "safetensors", "pandas")
HEADLINE = ("bpp", "psnr", "ms_ssim", "compression_ratio")


@dataclass(frozen=True)
class RegisterConfig:
    """`register` in params.yaml."""

    name: str  # the registered model's name in MLflow


def register(name: str, model_folder: Path, metrics: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Log the codec in `model_folder` to the active run, register it as `name`, and promote it if the rule says so.

    `metrics` is the evaluation's metrics.json; `facts` holds `model` and `lmbda`. The reason is written on the
    version, promoted or not. Returns what was done, for a report.
    """
    mlflow = connect()
    client = mlflow.MlflowClient()
    info = _log_model(mlflow, name, model_folder)
    version = str(info.registered_model_version)
    figures = metrics["model"]
    new = Candidate(version, float(facts["lmbda"]), float(figures["rd_cost"]), str(metrics["test_set"]))
    with database_lock():
        champion = find_champion(name)
        promoted, reason = decide(new, champion)
        if promoted:
            client.set_registered_model_alias(name, CHAMPION, version)
    tags = {**new.tags(), "model": facts["model"], "promoted": str(promoted).lower(), "reason": reason}
    tags |= {key: repr(figures[key]) for key in HEADLINE if figures.get(key) is not None}
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.update_model_version(name, version, description=reason)
    return {
        "name": name,
        "version": version,
        "promoted": promoted,
        "reason": reason,
        "champion": version if promoted else (champion.version if champion else None),
        "run_id": info.run_id,
    }


def find_champion(name: str) -> Candidate | None:
    """The version that carries the alias `champion`, or None when there is none or it lacks the rule's figures."""
    from mlflow.exceptions import MlflowException

    try:
        found = connect().MlflowClient().get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return None
    return Candidate.from_tags(str(found.version), found.tags)


def model_path(uri: str) -> Path:
    """The model folder behind `models:/name@alias` or `models:/name/version`, fetched if it lies elsewhere.

    Raises TrackingError when the registry has no such model.
    """
    mlflow = connect()
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except Exception as error:
        first_line = str(error).splitlines()[0]
        raise TrackingError(f"{uri} is not in the registry ({first_line}); `mlflow ui` shows what is") from error
    descriptions = list((folder / "artifacts").glob("*/model.json"))
    if len(descriptions) != 1:
        raise TrackingError(f"{uri} is not one of this project's codecs; `mlflow ui` shows what is registered")
    return descriptions[0].parent


def _log_model(mlflow: Any, name: str, model_folder: Path) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    data = Schema([ColSpec("binary", "data")])
    signature = ModelSignature(data, data, ParamSchema([ParamSpec("operation", "string", "compress")]))
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("serving_model.py")),
        artifacts={"model_folder": str(model_folder)},
        code_paths=[str(Path(__file__).parents[1])],
        signature=signature,
        input_example=_example(),
        pip_requirements=[f"{package}=={installed_version(package)}" for package in REQUIREMENTS],
        registered_model_name=name,
    )


def _example() -> Any:
    import pandas as pd
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(file, format="PNG")
    return pd.DataFrame({"data": [file.getvalue()]})
