#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# inner_loops.sh OBJDUMP FILE ISA... — reads the machine code of qk, pv and kv_grad of the sets in FILE:
# an innermost loop that multiplies and adds must keep its register tile in registers, so no vector
# instruction in it may touch the stack; the widest one must hold as many multiply-adds as the tile of
# that instruction set has accumulators, and with them hardly more loads than the tile needs: a vector for each
# column of the tile, a broadcast for each row.
set -eu
objdump=$1 file=$2
shift 2

check() { # check SYMBOL ROWS VECTORS
    "$objdump" -d --no-show-raw-insn "--disassemble=$1" "$file" | awk -v symbol="$1" -v rows="$2" -v vectors="$3" '
    # Reads memory: AT&T syntax names the source first; on AArch64 a load says so (a pair counts twice).
    function loads_of(text) {
        if (text ~ /^ldp[ \t]/) return 2
        if (text ~ /^(ldr|ldur|ld1r?)[ \t]/) return 1
        return text ~ /\(%[^)]*\)[^)]*,[^(]*$/ && text !~ /^(lea|prefetch)/
    }
    /^ +[0-9a-f]+:/ {
        address = $1; sub(":", "", address)
        text = $0; sub(/^ +[0-9a-f]+:[ \t]*/, "", text)
        n++; where[address] = n; line[n] = text
        if (text ~ /^(j[a-z]+|b\.[a-z]+|b|cbn?z|tbn?z)[ \t]/ && match(text, /[0-9a-f]+ <[^>]*>/)) {
            target = substr(text, RSTART, RLENGTH); sub(/ <.*/, "", target)
            if (target in where) { loops++; from[loops] = where[target]; to[loops] = n }
        }
    }
    END {
        if (!n) { print symbol ": not found"; exit 1 }
        for (i = 1; i <= loops; i++) {
            inner = 1
            for (j = 1; j <= loops; j++)
                if (j != i && from[j] >= from[i] && to[j] <= to[i]) inner = 0
            if (!inner) continue
            fma = stack = loads = 0
            for (k = from[i]; k <= to[i]; k++) {
                if (line[k] ~ /^(vfn?m(add|sub)[0-9]*[a-z]*|fml[as])[ \t]/) fma++
                loads += loads_of(line[k])
                if (line[k] ~ /\(%rsp|\[sp/ && line[k] ~ /%[xyz]mm|[ \t][vqsd][0-9]/) stack++
            }
            if (fma) checked++
            if (fma && stack) { printf "%s: %d stack accesses beside %d multiply-adds\n", symbol, stack, fma; bad = 1 }
            if (fma > widest) { widest = fma; widest_loads = loads }
        }
        tile = rows * vectors
        turns = widest / tile
        ideal = turns * (tile + rows + vectors)
        if (widest + widest_loads > 1.1 * ideal) { printf "%s: %d multiply-adds and %d loads, %d together would do\n", symbol, widest, widest_loads, ideal; bad = 1 }
        if (widest < tile) { printf "%s: the widest loop has %d multiply-adds, the tile %d\n", symbol, widest, tile; bad = 1 }
        if (!bad) printf "%s: %d loops, the widest with %d multiply-adds and %d loads\n", symbol, checked, widest, widest_loads
        exit bad
    }'
}

bad=0
for isa in "$@"; do
    case $isa in
    avx2) tile='6 2' ;;
    avx512 | neon) tile='6 4' ;;
    *) continue ;; # scalar: the compiler may do as it likes
    esac
    for slot in qk pv kv_grad; do
        check "fattn_${slot}_$isa" $tile || bad=1 # two words
    done
done
exit $bad
