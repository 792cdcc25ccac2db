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
        read = _read_all(found)
        data = write_comparison(read, folder)
        run_id = runs.log_comparison(folder, data["runs"], config.experiment)
        logger.info("%d runs compared in data/05_reports/comparison/report.html (run %s)", len(data["runs"]), run_id)

    return fill


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
