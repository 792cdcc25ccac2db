#!/usr/bin/env bash
# Serve Kedro-Viz from a small virtual environment of its own ($2, made with the Python $1): its needs clash with FiftyOne's.
set -euo pipefail
python=$1 venv=$2
hash=$(sha256sum requirements-viz.lock | cut -c1-16)
if [ "$(cat "$venv/.lock-hash" 2>/dev/null || true)" != "$hash" ]; then
    python=$("$python" -c 'import sys; print(sys._base_executable)')
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement requirements-viz.lock
    echo "$hash" > "$venv/.lock-hash"
fi
exec "$venv/bin/kedro" viz run --no-browser
