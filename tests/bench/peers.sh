#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# peers.sh PYTHON LIBRARY — tests of bench/peers. Exit 77 where there is no Python with NumPy.
python=${1:-python3}
if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "not run: tests of bench/peers (no Python with NumPy)"
    exit 77
fi
exec "$python" -B "$(dirname "$0")/peers.py" "$2"
