#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# package.sh PYTHON FOLDER — the tests of the package that lies built in FOLDER. Exit 77 where there is no Python with
# NumPy and pytest; the tests themselves name what else is missing.
python=${1:-python3}
if ! "$python" -c 'import numpy, pytest, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "not run: Python package (no Python 3.11 with NumPy and pytest)"
    exit 77
fi
tests=$(cd "$(dirname "$0")/../../python/fattn/tests" && pwd)
PYTHONPATH=$2 exec "$python" -B -m pytest -q -p no:cacheprovider "$tests"
