"""Look at the curated pictures, and at what models made of them, in FiftyOne's App: ``python -m balle_li.app``.

The evaluation in data/05_reports is added to the pictures when the App starts, and those of MLflow's runs that are named.
The results of models that were shown earlier stay beside them until the pictures are curated again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balle_li.errors import BalleLiError
from balle_li.files import project_home, workspace

RECONSTRUCTIONS = Path(".fiftyone", "reconstructions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the App until Ctrl-C. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m balle_li.app", description="Look at the curated pictures and at what models made of them."
    )
    for name, default, text in (
        ("raw", "data/01_raw", "the downloaded pictures"),
        ("curated", "data/02_curated", "the manifest"),
        ("model", "data/04_models/model", "the model that was evaluated"),
        ("evaluation", "data/05_reports/evaluation", "what evaluate measured"),
    ):
        place = workspace() / default
        parser.add_argument(f"--{name}", type=Path, default=place, help=f"{text}; default: {default} of the project")
    parser.add_argument("--runs", nargs="*", metavar="RUN", help="also MLflow's runs of these names or ids; none: all")
    parser.add_argument("--port", type=int, default=5151, help="default: %(default)s")
    options = parser.parse_args(arguments)
    from balle_li.datasets import app

    try:
        app.check_port(options.port)
        dataset = app.open_curated(options.raw, options.curated)
        try:
            add_evaluation(dataset, options.raw, options.curated, options.model, options.evaluation)
            if options.runs is not None:
                add_runs(dataset, options.raw, options.curated, options.runs)
        except BalleLiError as error:
            print(f"Not all results are shown: {error}", file=sys.stderr)
        app.serve(dataset, options.port)
    except BalleLiError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def add_evaluation(dataset: Any, raw: Path, curated: Path, model: Path, evaluation: Path, run: str = "") -> None:
    """Give the dataset the results of an evaluation, unless it has them; nothing where there is no evaluation yet.

    run: the name of the run that it belongs to, which its model is then shown with.

    Raises StageError: the evaluation is another model's, or a picture cannot be decoded.
    """
    if not (evaluation / "pictures.parquet").is_file():
        return
    from balle_li.datasets import results
    from balle_li.evaluation.outcomes import Evaluation

    found = Evaluation.load(evaluation, model, run)
    if not results.has_results(dataset, found.name, found.key()):
        pictures = project_home() / RECONSTRUCTIONS / results.field_of(found.name)
        results.add_results(dataset, found.name, found.key(), found.outcomes(raw, curated, pictures))


def add_runs(dataset: Any, raw: Path, curated: Path, names: Sequence[str]) -> None:
    """Give the dataset the results of MLflow's runs `names` (all if there are none) that measured the same pictures.

    Raises TrackingError: a name fits no run. A run of other pictures, or without a registered model, is named and left out.
    """
    from balle_li.evaluation import test_set
    from balle_li.files import read_json
    from balle_li.tracking import registry
    from balle_li.tracking.connection import EXPERIMENT
    from balle_li.tracking.runs import finished_runs

    pictures = test_set.digest(test_set.read_rows(curated))
    for run in finished_runs(EXPERIMENT, names, ""):
        try:
            if read_json(run.evaluation / "metrics.json")["test_set"] != pictures:
                raise BalleLiError("it measured other test pictures")
            add_evaluation(dataset, raw, curated, registry.model_of_run(run.run_id), run.evaluation, run.name)
        except BalleLiError as error:
            print(f"Run {run.name} is left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
