"""Train every model at every lmbda, as DVC experiments of one queue, and say which failed and why.

python scripts/sweep.py NAME --models balle balle-li --lmbdas 0.005 0.01 0.02 [--set train.steps=2000 …] [--jobs 1]

An experiment that fails leaves the others alone. Afterwards `kedro run --pipeline compare --params 'compare.runs=[NAME]'`
compares those that finished. Exits with 1 if any failed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

FINISHED = ("Success", "Failed", "Killed")
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
"""How long tasks may wait without a worker before workers are started again."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train every model at every lmbda, as DVC experiments.")
    parser.add_argument("name", help="of the sweep: its experiments are called NAME-MODEL-LMBDA")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--lmbdas", nargs="+", type=float, required=True)
    parser.add_argument("--set", nargs="+", default=[], metavar="PARAMETER=VALUE", help="other parameters, for all")
    parser.add_argument("--jobs", type=int, default=1, help="experiments at the same time")
    options = parser.parse_args(arguments)
    names = []
    for model in options.models:
        for lmbda in options.lmbdas:
            names.append(f"{options.name}-{model}-{lmbda:g}")
            settings = [f"model.name={model}", f"lmbda={lmbda:g}", *options.set]
            queued = _dvc(
                "exp", "run", "--queue", "--name", names[-1], *(part for one in settings for part in ("-S", one))
            )
            if queued.returncode != 0:
                print(f"{names[-1]} cannot be queued: {_reason(queued.stdout + queued.stderr)}", file=sys.stderr)
                return 1
    return _report(_run_queue(names, options.jobs), options.name)


def _run_queue(names: Sequence[str], jobs: int) -> dict[str, str]:
    """Run the queue until every experiment has ended; returns how each did."""
    _dvc("queue", "start", "-j", str(jobs))
    told: dict[str, str] = {}
    idle_since: float | None = None
    while True:
        found = _status(names)
        for name, status in found.items():
            if status != told.get(name):
                print(f"{time.strftime('%H:%M:%S')} {name}: {status.lower()}", flush=True)
        told = found
        if all(status in FINISHED for status in found.values()):
            return found
        idle_since = None if "Running" in found.values() else idle_since or time.monotonic()
        if idle_since is not None and time.monotonic() - idle_since > PATIENCE_SECONDS:
            _dvc("queue", "start", "-j", str(jobs))
            idle_since = None
        time.sleep(POLL_SECONDS)


def _status(names: Sequence[str]) -> dict[str, str]:
    """What `dvc queue status` says of the experiments; one that is not in it any more was removed, which counts as killed."""
    words = [line.split() for line in _dvc("queue", "status").stdout.splitlines()]
    known = {row[1]: row[-1] for row in words if len(row) >= 4}
    return {name: known.get(name, "Killed") for name in names}


def _report(found: dict[str, str], sweep: str) -> int:
    failed = [name for name, status in found.items() if status != "Success"]
    print(f"{len(found) - len(failed)} of {len(found)} experiments finished")
    for name in failed:
        log = _dvc("queue", "logs", name)
        print(f"{name} failed: {_reason(log.stdout + log.stderr)} (all of it: dvc queue logs {name})", file=sys.stderr)
    if len(failed) < len(found):
        print(f"Compare them: kedro run --pipeline compare --params 'compare.runs=[{sweep}]'")
    return 1 if failed else 0


def _reason(output: str) -> str:
    """The project's own error line, or what else comes last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    own = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (own or errors or lines or ["it left no log"])[-1]


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
