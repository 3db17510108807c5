#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# peers_venv.sh DIR — a Python environment with what bench/peers measures against. A package that cannot
# be installed is named and left out; only NumPy is indispensable.
set -eu
cd "$(dirname "$0")/.."
venv=$1
list=bench/peers/requirements.txt
if [ -x "$venv/bin/python" ] && cmp -s "$list" "$venv/installed.txt"; then exit 0; fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
complete=yes
for package in $(sed 's/#.*//' "$list"); do
    echo "installing $package" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" || {
        complete=no
        echo "left out: $package"
    }
done
"$venv/bin/python" -c 'import numpy' || { echo "bench/peers needs NumPy"; exit 1; }
if [ $complete = yes ]; then cp "$list" "$venv/installed.txt"; fi
