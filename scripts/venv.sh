#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# venv.sh — makes .venv with NumPy for the Python parts of the tests. Without a network the system's
# NumPy serves; with neither, the tests that need it say that they did not run.
set -eu
cd "$(dirname "$0")/.."
works() { [ -x .venv/bin/python ] && .venv/bin/python -c 'import numpy' >/dev/null 2>&1; }
works && exit 0

python=$(command -v python3 || true)
[ -n "$python" ] || { echo "no python3: the NumPy oracle will not run"; exit 0; }
rm -rf .venv
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if "$python" -m venv .venv >"$log" 2>&1 &&
    .venv/bin/python -m pip install --quiet --disable-pip-version-check numpy >>"$log" 2>&1 && works; then
    exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] && [ -z "${FATTN_NO_INSTALL:-}" ]; then
    apt-get install -y --no-install-recommends python3-numpy </dev/null >>"$log" 2>&1 || true
fi
for python in "$python" /usr/bin/python3; do
    rm -rf .venv
    "$python" -m venv --without-pip --system-site-packages .venv >>"$log" 2>&1 && works && exit 0
done
rm -rf .venv
tail -n 3 "$log"
echo "NumPy could not be fetched (no network?) and the system has none: the NumPy oracle will not run."
echo "On Debian or Ubuntu 'apt-get install python3-numpy' helps as well."
