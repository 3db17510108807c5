#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# venv.sh — makes .venv with NumPy for the Python parts of the tests, then adds what else they use:
# python/requirements-test.txt and, unless FATTN_WITHOUT_TORCH=1, python/requirements-torch.txt. Without a network
# the system's NumPy serves; what cannot be had at all is named, and the tests that need it say that they
# did not run.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
works() { [ -x .venv/bin/python ] && .venv/bin/python -c 'import numpy' >/dev/null 2>&1; }
has() { .venv/bin/python -c "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))" "$@"; }
fetch() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1; }

make_venv() { # with NumPy; fails where there is none
    python=$(command -v python3 || true)
    [ -n "$python" ] || { echo "no python3: the Python tests will not run"; return 1; }
    rm -rf .venv
    if "$python" -m venv .venv >"$log" 2>&1 && fetch numpy && works; then return; fi
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] && [ -z "${FATTN_NO_INSTALL:-}" ]; then
        apt-get install -y --no-install-recommends python3-numpy </dev/null >>"$log" 2>&1 || true
    fi
    for python in "$python" /usr/bin/python3; do
        rm -rf .venv
        "$python" -m venv --without-pip --system-site-packages .venv >>"$log" 2>&1 && works && return
    done
    rm -rf .venv
    tail -n 3 "$log"
    echo "NumPy could not be fetched (no network?) and the system has none: the Python tests will not run."
    echo "On Debian or Ubuntu 'apt-get install python3-numpy' helps as well."
    return 1
}

works || make_venv || exit 0
if ! has pytest ml_dtypes scikit_build_core matplotlib; then
    fetch -r python/requirements-test.txt || echo "without (Python, optional): pytest, ml_dtypes, scikit-build-core, matplotlib"
fi
if [ -z "${FATTN_WITHOUT_TORCH:-}" ] && ! has torch transformers; then
    fetch -r python/requirements-torch.txt || { tail -n 1 "$log"; echo "without (Python, optional): torch, transformers"; }
fi
