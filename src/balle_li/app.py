"""Look at the curated pictures, and at what models made of them, in FiftyOne's App: ``python -m balle_li.app``.

The evaluation in data/05_reports is added to the pictures when the App starts, and those of MLflow's runs that are named.
The results of models that were shown earlier stay beside them until the pictures are curated again.

The App hands out any file of this machine to whoever can reach its port, so it listens on the loopback address only.
"""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balle_li.errors import BalleLiError, DatasetError
from balle_li.files import project_home, workspace

ADDRESS = "127.0.0.1"
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
    from balle_li.data.fiftyone_view import open_curated

    try:
        check_port(options.port)
        dataset = open_curated(options.raw, options.curated)
        try:
            add_evaluation(dataset, options.raw, options.curated, options.model, options.evaluation)
            if options.runs is not None:
                add_runs(dataset, options.raw, options.curated, options.runs)
        except BalleLiError as error:
            print(f"Not all results are shown: {error}", file=sys.stderr)
        serve(dataset, options.port)
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
    if not (evaluation / "measurements.parquet").is_file():
        return
    from balle_li.data import fiftyone_view
    from balle_li.evaluation.outcomes import Evaluation

    found = Evaluation.load(evaluation, model, run)
    if not fiftyone_view.has_results(dataset, found.name, found.key()):
        pictures = project_home() / RECONSTRUCTIONS / fiftyone_view.field_of(found.name)
        fiftyone_view.add_results(dataset, found.name, found.key(), found.outcomes(raw, curated, pictures))


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
            if read_json(run.evaluation / "metrics.json").get("all_pictures") != pictures:
                raise BalleLiError("it measured other test pictures")
            add_evaluation(dataset, raw, curated, registry.model_of_run(run.run_id), run.evaluation, run.name)
        except BalleLiError as error:
            print(f"Run {run.name} is left out: {error}", file=sys.stderr)


def serve(dataset: Any, port: int) -> None:
    """Show a dataset of `open_curated` on `port` and wait for Ctrl-C. Raises DatasetError: the port is taken."""
    check_port(port)
    from balle_li.data.fiftyone_database import connect

    kept = dataset.load_saved_view("kept")
    with contextlib.redirect_stdout(None):  # while the server starts, its client prints that it cannot connect yet
        session = connect().launch_app(dataset, view=kept, remote=True, address=ADDRESS, port=port, auto=False)
    print(
        f"FiftyOne shows {len(kept)} kept pictures at http://{ADDRESS}:{port}; its saved views show what was dropped, "
        "and on which test pictures models do worst."
    )
    print(f"Ctrl-C ends it. From another machine: ssh -L {port}:{ADDRESS}:{port} {socket.gethostname()}", flush=True)
    try:
        session.wait(-1)
    except KeyboardInterrupt:
        print("\nClosing the App; the pictures and what was added to them stay.", flush=True)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, its client would print that it cannot connect any more
        _end_server()
        raise


def _end_server() -> None:
    """End the web server of this process, which else waits half a minute for browsers that look at it to go away."""
    import psutil  # type: ignore[import-untyped]

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[2:4] == ["--51-service", "server"]:  # which watches over the server itself
                for process in (*child.children(recursive=True), child):
                    process.kill()


def check_port(port: int) -> None:
    """Raises DatasetError when another process listens on `port`."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((ADDRESS, port))
        return
    raise DatasetError(f"port {port} is taken: end what uses it, or choose another with --port")


if __name__ == "__main__":
    sys.exit(main())
