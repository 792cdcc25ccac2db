"""What was measured, as pages to look at."""

from pathlib import Path
from typing import Any

from pipelines.folder import Fill


def report(evaluation: Path, mlflow_run: dict[str, str], parameters: dict[str, Any]) -> Fill:
    def fill(folder: Path) -> None:
        from balle_li.comparison.report import write_report
        from balle_li.tracking import run

        with run.attached(mlflow_run["run_id"], parameters, run.origin_tags(), "report") as log:
            flat = {name: str(value) for name, value in run.flatten(parameters)}
            write_report(evaluation, log.run_id, flat, folder, log)

    return fill
