"""Finished runs, compared in one report."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.folder import Fill

if TYPE_CHECKING:
    from balle_li.comparison.runs import EvaluatedRun
    from balle_li.tracking.runs import FinishedRun

logger = logging.getLogger("balle_li.compare")


def compare(compare: dict[str, Any]) -> Fill:
    from balle_li.config import CompareConfig, read

    config = read(CompareConfig, compare, "compare")

    def fill(folder: Path) -> None:
        from balle_li.comparison.report import write_comparison
        from balle_li.tracking import runs

        found = runs.finished_runs(config.experiment, config.runs, config.filter)
        data = write_comparison(of_kind(_read_all(found), config.kind), folder)
        run_id = runs.log_comparison(folder, data["runs"], config.experiment)
        logger.info("%d runs compared in data/05_reports/comparison/report.html (run %s)", len(data["runs"]), run_id)

    return fill


def of_kind(runs: "list[EvaluatedRun]", kind: str) -> "list[EvaluatedRun]":
    """Those whose models were trained for `kind`, `any` being all. Raises StageError: there are none."""
    from balle_li.errors import StageError

    chosen = [run for run in runs if kind in ("any", run.kind)]
    if not chosen:
        raise StageError(f"no run is of the kind {kind}; set compare.kind to any")
    if others := len(runs) - len(chosen):
        logger.info(
            "%d run%s of another kind and left out: compare.kind is %s", others, "s are" if others > 1 else " is", kind
        )
    return chosen


def _read_all(found: "list[FinishedRun]") -> "list[EvaluatedRun]":
    """What can be read of the runs. Raises StageError when that is nothing."""
    from balle_li.comparison.runs import read_run
    from balle_li.errors import BalleLiError, StageError

    read = []
    for run in found:
        try:
            read.append(read_run(run.run_id, run.name, run.started, run.source, run.parameters, run.evaluation))
        except BalleLiError as error:
            logger.warning("run %s (%s) is left out: %s", run.name, run.run_id, error)
    if not read:
        raise StageError("no run has a whole evaluation; run `dvc repro --force evaluate`, then compare again")
    return read
