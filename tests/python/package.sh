#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# package.sh PYTHON FOLDER TESTS [MODULE] — the tests of a package that lies built in FOLDER; TESTS from python/ on. Exit
# 77 where there is no Python with NumPy and pytest, or MODULE is missing; the tests themselves name what else is.
python=${1:-python3} folder=$2 module=${4:-numpy}
if ! "$python" -c 'import numpy, pytest, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "not run: Python package (no Python 3.11 with NumPy and pytest)"
    exit 77
fi
if ! PYTHONPATH=$folder "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$module') is None)" 2>/dev/null; then
    echo "not run: python/$3 (no $module)"
    exit 77
fi
tests=$(cd "$(dirname "$0")/../../python/$3" && pwd)
PYTHONPATH=$folder exec "$python" -B -m pytest -q -p no:cacheprovider "$tests"
