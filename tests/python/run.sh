#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh PYTHON LIBRARY [OPTION...] — the NumPy oracle. Exit 77 where there is no Python with NumPy.
python=${1:-python3}
library=$2
shift 2
if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "not run: NumPy oracle (no Python with NumPy)"
    exit 77
fi
here=$(cd "$(dirname "$0")" && pwd)
exec "$python" -B "$here/check.py" --library "$library" "$@"
