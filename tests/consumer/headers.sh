#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# headers.sh INCLUDE_DIR CC CXX — every public header compiles alone, as C11 and as C++17, without a
# warning.
set -eu
include=$1 cc=$2 cxx=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only'
n=0
for header in "$include"/fattn/*.h; do
    name=fattn/${header##*/}
    printf '#include "%s"\n#include "%s"\n' "$name" "$name" >"$work/alone.c"
    cp "$work/alone.c" "$work/alone.cpp"
    # shellcheck disable=SC2086
    $cc -std=c11 $flags -I"$include" "$work/alone.c" || { echo "$name: not alone as C11"; exit 1; }
    # shellcheck disable=SC2086
    $cxx -std=c++17 $flags -I"$include" "$work/alone.cpp" || { echo "$name: not alone as C++17"; exit 1; }
    n=$((n + 1))
done
echo "$n headers"
[ "$n" -ge 9 ]
