"""The codec measured on the test pictures, through real files, and the classical codecs on the same."""

from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def evaluate(
    raw: Path,
    curated: Path,
    model: Path,
    mlflow_run: dict[str, str],
    evaluate: dict[str, Any],
    tune: str,
    class_weights: dict[str, float],
    compute: dict[str, Any],
    parameters: dict[str, Any],
) -> Fill:
    from balle_li.config import ComputeConfig, EvaluationConfig, read

    config = read(EvaluationConfig, evaluate, "evaluate")
    compute_config = read(ComputeConfig, compute, "compute")

    def fill(folder: Path) -> None:
        from balle_li.comparison.summary import write_summary
        from balle_li.evaluation.evaluate import evaluate
        from balle_li.files import named_path, read_json
        from balle_li.tracking import run
        from pipelines.model_places import located

        others = {place: located(place, tune) for place in config.baselines}
        with run.attached(mlflow_run["run_id"], parameters, run.origin_tags(), "evaluate") as log:
            evaluate(raw, curated, model, others, config, class_weights, compute_config, folder)
            write_summary(folder, log)
            metrics = read_json(folder / "metrics.json")
            log.dataset("test pictures", curated, metrics["test_set"], "testing")
            for name, path in config.extra_sets.items():
                log.dataset(name, named_path(path), metrics["sets"][name]["test_set"], "testing")

    return fill
