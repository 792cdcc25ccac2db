"""Seconds of a set-up with uv and with pip: one lock file, the same hashes, both caches warm, in one run.

python benchmarks/set_up.py [--lock requirements.lock] [--warm pip uv]

Each way installs the lock file into a new virtual environment twice and times the second; those named by --warm are taken
to have what they need at hand, and install it once. Environments lie in --folder (10 GB) and are removed.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Seconds of a set-up with uv and with pip.")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--warm", nargs="*", choices=("pip", "uv"), default=[], help="installed this lock file before")
    parser.add_argument("--folder", type=Path, default=None, help="where the environments lie; default: the system's")
    options = parser.parse_args(arguments)
    measured = {}
    for way in ("uv", "pip"):
        for warm in [True] if way in options.warm else [False, True]:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                seconds, processor = installed(way, Path(folder) / "environment", options.lock.resolve())
            print(
                f"{way}, {'warm' if warm else 'first'}: {seconds:.1f} s ({processor:.1f} s of processor time)",
                flush=True,
            )
        measured[way] = seconds, processor
    print(f"pip / uv, warm: {measured['pip'][0] / measured['uv'][0]:.1f} times the time, ", end="")
    print(f"{measured['pip'][1] / measured['uv'][1]:.1f} times the processor's")


def installed(way: str, environment: Path, lock: Path) -> tuple[float, float]:
    """Wall and processor seconds of making `environment` as scripts/setup.sh does with uv, and as it would with pip."""
    python = environment / "bin" / "python"
    with_pip = [str(python), *PIP, str(lock)]
    install = with_pip if way == "pip" else ["bash", "scripts/install.sh", str(python), str(lock)]
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(install, cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": ""})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
