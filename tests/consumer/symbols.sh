#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# symbols.sh SHARED STATIC INCLUDE_DIR CC — what the libraries show to the world:
#   exported symbols = the functions that the public headers declare, no more and no less, in both;
#   the shared library needs libc and libm only; nothing runs at load time; stripped it has at most 2 MiB.
set -eu
shared=$1 static=$2 include=$3 cc=$4
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# Declarations marked FATTN_API, after preprocessing (the operators' come from a macro).
echo '#include "fattn/fattn.h"' >"$work/all.c"
$cc -std=c11 -E -P -I"$include" "$work/all.c" | tr '\n' ' ' | tr ';' '\n' |
    grep 'visibility("default")' | grep -o 'fattn_[a-z0-9_]* *(' | tr -d ' (' | sort -u >"$work/declared"

nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/shared"
nm -g --defined-only "$static" | awk 'NF == 3 { print $3 }' | sort -u >"$work/static"

for kind in shared static; do
    if ! diff "$work/declared" "$work/$kind" >"$work/diff"; then
        echo "$kind library: < declared but missing, > exported but not public"
        cat "$work/diff"
        bad=1
    fi
done

for need in $(readelf -d "$shared" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    case $need in
    libc.so.* | libm.so.* | libpthread.so.* | ld-linux*.so.*) ;;
    *) echo "needs $need"; bad=1 ;;
    esac
done
readelf -d "$shared" | grep -q 'SONAME.*\[libfattn\.so\.0\]' || { echo "SONAME is not libfattn.so.0"; bad=1; }

if objdump -h "$static" | grep -E '\.(init_array|fini_array|ctors|dtors)'; then
    echo "something runs at load time"
    bad=1
fi
# Small is a promise: 2 MiB without debug information, every instruction set included.
cp "$shared" "$work/stripped.so"
strip "$work/stripped.so"
size=$(wc -c <"$work/stripped.so")
[ "$size" -le 2097152 ] || { echo "the stripped library has $size bytes, more than 2 MiB"; bad=1; }
echo "$(wc -l <"$work/declared") public functions, $size bytes stripped"
[ "$bad" -eq 0 ]
