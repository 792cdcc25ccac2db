"""The model registry: versions with signature, example, model card and metrics; promotion leaves its reason on each."""

import io
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from balle_li.codec.model_folder import DESCRIPTION_FILE, TENSORS_FILE, ModelFolder
from balle_li.config import RegisterConfig
from balle_li.errors import BalleLiError, TrackingError
from balle_li.evaluation.published import kind_of
from balle_li.files import RELEASED_MODELS, read_json
from balle_li.tracking import promotion
from balle_li.tracking.connection import connect, database_lock
from balle_li.tracking.promotion import CHALLENGER, CHAMPION, Candidate, Compare, decide

DESCRIPTION_LENGTH = 4000
"""Characters of a card in a version's description, of the 5000 that MLflow's tables hold."""
CARD_FILE = "MODEL_CARD.md"
REQUIREMENTS = ("torch", "numpy", "pillow", "constriction", "safetensors", "pandas")
CURVE_FILE = "rd_curve.json"
HEADLINE = ("bpp", "psnr", "ms_ssim")
"""The metrics among a version's tags; its card and its run have all of them."""
_LATEST = "latest_version"  # a registered model's tag: the number that was given last


def register(
    config: RegisterConfig, model_folder: Path, evaluation: Path, card: Callable[[str], str], compare: Compare
) -> dict[str, Any]:
    """Log the codec in `model_folder` to the active run and register it; the rule gives it an alias or none.

    evaluation: the folder with metrics.json and rd_curve.json. card: gives the text of MODEL_CARD.md for a version.
    compare: gives the BD-rate of a curve against another. The version keeps the reason, whatever was decided. Returns
    what was done, for a report.
    """
    mlflow = connect()
    client = mlflow.MlflowClient()
    name = config.name
    metrics, description = read_json(evaluation / "metrics.json"), read_json(model_folder / DESCRIPTION_FILE)
    measured = metrics["model"]
    with database_lock():  # until the version that the card names is there
        info = _log_model(mlflow, name, model_folder, evaluation, card(_next_version(client, name)))
        version = str(info.registered_model_version)
        client.set_registered_model_tag(name, _LATEST, version)
    points = tuple(read_json(evaluation / CURVE_FILE))
    new = Candidate(
        version,
        float(description["trained_for"]["lmbda"]),
        float(measured["rd_cost"]),
        str(metrics["test_set"]),
        points,
        kind_of(description["trained_for"]),
    )
    costs = {**measured, "megabytes": _megabytes(model_folder), "pictures": metrics["counts"]["pictures"]}
    tags = {**new.tags(), "model": description["model"]["name"]}
    tags |= {key: f"{costs[key]:.4g}" for key in HEADLINE if costs.get(key) is not None}
    for key, value in tags.items():  # before it may become the champion, which the next one is compared with
        client.set_model_version_tag(name, version, key, value)
    client.update_model_version(name, version, description=_description(card(version)))
    with database_lock():
        champion, challenger = (find_holder(name, alias) for alias in (CHAMPION, CHALLENGER))
        decision = decide(new, champion, challenger, costs, config, compare)
        promoted = decision.alias == CHAMPION
        client.set_model_version_tag(name, version, "promoted", str(promoted).lower())
        promotion.write_reason(client, name, version, decision.reason)
        if promoted:
            promotion.promote(client, name, version)
        elif decision.alias == CHALLENGER:
            promotion.challenge(client, name, version)
    return {
        "name": name,
        "version": version,
        "alias": decision.alias,
        "promoted": promoted,
        "reason": decision.reason,
        "champion": version if promoted else (champion.version if champion else None),
        "run_id": info.run_id,
    }


def find_holder(name: str, alias: str) -> Candidate | None:
    """The version that has the alias, or None when there is none or it lacks the rule's metrics."""
    mlflow = connect()
    found = promotion.holder(mlflow.MlflowClient(), name, alias)
    if found is None:
        return None
    return Candidate.from_tags(str(found.version), found.tags, _curve(mlflow, name, found))


def _curve(mlflow: Any, name: str, version: Any) -> list[dict[str, Any]]:
    """The rate–distortion curve of a version, from its artifacts; none where it was registered without."""
    from mlflow.exceptions import MlflowException

    try:
        place = f"models:/{name}/{version.version}/artifacts/{CURVE_FILE}"
        curve: list[dict[str, Any]] = read_json(mlflow.artifacts.download_artifacts(artifact_uri=place))
        return curve
    except (MlflowException, OSError, BalleLiError):
        return []


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


def model_of_run(run_id: str) -> Path:
    """The model folder that a run registered last. Raises TrackingError when it registered none."""
    found = connect().MlflowClient().search_model_versions(f"run_id = '{run_id}'")
    if not found:
        raise TrackingError(f"run {run_id} registered no model")
    last = max(found, key=lambda version: int(version.version))
    return model_path(f"models:/{last.name}/{last.version}")


def _next_version(client: Any, name: str) -> str:
    """The number that MLflow gives to the next version of a registered model.

    MLflow no longer shows a version that was deleted, but never gives its number again.
    """
    known = [found.version for found in client.search_model_versions(f"name = '{name}'")]
    known += [model.tags.get(_LATEST, 0) for model in client.search_registered_models(f"name = '{name}'")]
    return str(1 + max(map(int, known), default=0))


def _megabytes(model_folder: Path) -> float:
    return sum((model_folder / file).stat().st_size for file in (DESCRIPTION_FILE, TENSORS_FILE)) / 1e6


def _description(card: str) -> str:
    """What MLflow's page of the version shows below the reason: the card, without its long end if there is no room."""
    text = f"\n\n{card}"
    if len(text) <= DESCRIPTION_LENGTH:
        return text
    cut = text[:DESCRIPTION_LENGTH].rpartition("\n## ")[0]
    return f"{cut}\nThe rest stands in {CARD_FILE}, among the artifacts of this version."


def _log_model(mlflow: Any, name: str, model_folder: Path, evaluation: Path, card: str) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    data = Schema([ColSpec("binary", "data")])
    params = [ParamSpec("operation", "string", "compress"), ParamSpec("quality", "double", None)]
    params += [ParamSpec("boxes", "string", ""), ParamSpec("tune", "string", "")]
    signature = ModelSignature(data, data, ParamSchema(params))
    package = Path(__file__).parents[1]
    own = ModelFolder.load(model_folder).model.requirements
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / package.name
        shutil.copytree(package, code, ignore=shutil.ignore_patterns(RELEASED_MODELS.name, "__pycache__"))
        card_file = Path(folder) / CARD_FILE
        card_file.write_text(card, encoding="utf-8")
        mlflow.log_artifact(str(card_file))
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("serving_model.py")),
            artifacts={
                "model_folder": str(model_folder),
                "model_card": str(card_file),
                "rd_curve": str(evaluation / CURVE_FILE),
            },
            code_paths=[str(code)],
            signature=signature,
            input_example=_example(),
            pip_requirements=[f"{package}=={installed_version(package)}" for package in (*REQUIREMENTS, *own)],
            registered_model_name=name,
        )


def _example() -> Any:
    import pandas as pd
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(file, format="PNG")
    return pd.DataFrame({"data": [file.getvalue()]})
