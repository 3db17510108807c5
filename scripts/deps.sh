#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh print        the one line that installs everything on Debian or Ubuntu
# deps.sh build|test   looks for what building (and the tests) need; on Debian/Ubuntu as root installs
#                      it, elsewhere ends with that line. What is only optional never stops a build.
set -eu
packages='gcc g++ cmake make pkg-config libc6-dev libcmocka-dev libjansson-dev libzip-dev libopenblas-dev
bible-kjv python3-venv python3-dev'
line=$(echo apt-get update '&&' apt-get install -y --no-install-recommends $packages)
cc=${CC:-cc}

has_command() { command -v "$1" >/dev/null 2>&1; }
has_python_header() { # of the python3 that is found here, 3.11 or later
    python3 -c 'import os, sys, sysconfig
sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}
has_header() { printf '#include <%s>\n' "$1" | $cc -E - >/dev/null 2>&1; }

cmake_new_enough() { # 3.25
    version=$(cmake --version 2>/dev/null | sed -n 's/^cmake version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    set -- $version
    [ $# -eq 2 ] && { [ "$1" -gt 3 ] || { [ "$1" -eq 3 ] && [ "$2" -ge 25 ]; }; }
}

look() { # sets required, optional: what is missing, in words
    required='' optional=''
    has_command "$cc" && has_header stdio.h || required="$required, a C compiler with its headers"
    has_command make || required="$required, make"
    cmake_new_enough || required="$required, CMake 3.25 or later"
    has_header jansson.h || optional="$optional, jansson"
    has_header zip.h || optional="$optional, libzip"
    has_header cblas.h || optional="$optional, OpenBLAS"
    has_command bible || optional="$optional, bible-kjv (the text that \`fattn train\` learns from)"
    if [ "$1" = test ]; then
        has_header cmocka.h || required="$required, cmocka"
        has_command c++ || required="$required, a C++ compiler"
        has_command pkg-config || required="$required, pkg-config"
        python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || optional="$optional, python3 with venv"
        has_python_header || optional="$optional, Python.h of Python 3.11 or later (python3-dev)"
    fi
    required=${required#, } optional=${optional#, }
}

if [ "${1:-print}" = print ]; then
    echo "$line"
    exit 0
fi
look "$1"
[ -n "$required$optional" ] || exit 0

if has_command apt-get && [ "$(id -u)" = 0 ] && [ -z "${FATTN_NO_INSTALL:-}" ]; then
    echo "missing: ${required}${required:+${optional:+, }}${optional}; installing"
    echo "  $line"
    # Into stderr: what follows on stdout is the result of what was asked for.
    DEBIAN_FRONTEND=noninteractive sh -c "$line" </dev/null >&2 || echo "the installation failed"
    look "$1"
fi
[ -z "$optional" ] || echo "without (optional): $optional"
if [ -n "$required" ]; then
    echo "missing: $required"
    echo "On Debian or Ubuntu, as root, this line installs everything:"
    echo "  $line"
    exit 1
fi
