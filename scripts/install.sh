#!/usr/bin/env bash
# Install requirements.lock, or the lock file $2, for the Python $1 of a virtual environment, hash by hash, with uv.
# uv links what it installed before from its cache, where pip unpacks and copies it. Where there is no uv, pip brings it.
set -euo pipefail
python=$1 lock=${2:-requirements.lock}

with_pip() {
    echo "setup: $1; installing with pip, which takes longer" >&2
    exec "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
}

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --retries 2 --require-hashes --requirement requirements-uv.lock ||
        with_pip "uv is not available here"
    uv=$(dirname "$python")/uv
fi

# uv does not read pip's settings: a mirror that pip is told of is uv's too. The hashes decide what is taken from where.
setting() {
    "$python" -m pip config --quiet get ":env:.$1" 2>/dev/null || "$python" -m pip config --quiet get "global.$1" 2>/dev/null || true
}
for pair in UV_DEFAULT_INDEX=index-url UV_INDEX=extra-index-url UV_FIND_LINKS=find-links SSL_CERT_FILE=cert; do
    name=${pair%%=*}
    [ -n "${!name:-}" ] || export "$name=$(setting "${pair#*=}")"
    [ -n "${!name}" ] || unset "$name"
done
export UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
# Compiled now, once: where Python may not write its own bytecode, every command would compile all that it imports.
"$uv" pip install --quiet --compile-bytecode --python "$python" --require-hashes --requirement "$lock" || with_pip "uv could not install $lock"
