#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# self_test.sh — check.sh, docs.sh and registered.sh must notice: one offence of each kind, in a copy of the tree.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$root" && cp -r CMakeLists.txt cmake include src io tools examples \
    *.md LICENSE .ci docs bench data scripts tests "$copy")

offend() { # FILE LINE WORD: adds the line; the complaint must name file and word
    mkdir -p "$(dirname "$copy/$1")"
    echo "$2" >>"$copy/$1"
    echo "$1: .*$3" >>"$copy/expected"
}

offend src/base/error.h '#include "core/mask.h"' core/mask.h
offend src/core/mask.h '#include "exec/plan.h"' exec/plan.h
offend src/core/mask.h '#include <immintrin.h>' immintrin.h
offend src/cpu/extra.c '#  include "ref/ref.h"' ref/ref.h
offend src/cpu/kernel/extra.c '#include "core/problem.h"' core/problem.h
offend src/cpu/kernel/extra.c '#include <arm_neon.h>' arm_neon.h
offend src/api/extra.c '#include "cpu/kernels.h"' cpu/kernels.h
offend include/fattn/extra.h '#include <math.h>' math.h
offend include/fattn/extra.h '#include "base/ints.h"' base/ints.h
offend tools/extra.c '#include "base/ints.h"' base/ints.h
offend src/core/extra.c 'char *x = getenv("X");' environment
offend src/nn/extra.c '#include "base/ints.h"' 'no include rule' # a folder without a rule
sed -i '$d' "$copy/expected" && echo 'src/nn: no include rule' >>"$copy/expected"
offend tests/core/extra.c 'int x;' 'does not name it'
offend cmake/extra.cmake 'add_compile_options(-ffast-math)' fast-math

offend docs/tour.md '`src/core/gone.c`' src/core/gone.c
offend README.md '[x](docs/gone.md)' docs/gone.md
offend data/README.md '`scripts/gone.sh`' scripts/gone.sh
offend src/core/extra.c '/* docs/gone.md */' docs/gone.md
offend include/fattn/extra.h '/* docs/calls.md#gone */' docs/calls.md#gone
offend README.md '[x](docs/masks.md#gone)' docs/masks.md#gone
offend docs/kernels.md '[x](#gone-here)' docs/kernels.md#gone-here
offend SECURITY.md '`fattn_gone()`' fattn_gone

for script in check docs registered; do
    if (cd "$copy" && sh "$here/$script.sh") >>"$copy/log"; then
        echo "$script.sh was content"
        exit 1
    fi
done
while read -r line; do
    grep -q "^$line" "$copy/log" || { echo "not noticed: $line"; cat "$copy/log"; exit 1; }
done <"$copy/expected"
echo "all $(wc -l <"$copy/expected") noticed"
