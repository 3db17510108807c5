#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# inner_loops.sh OBJDUMP FILE ISA... — reads the machine code of qk, pv, kv_grad, softmax and grad of the sets in
# FILE: an innermost loop that multiplies and adds must keep what it works on in registers, so no vector
# instruction in it may touch the stack; the widest one must hold the multiply-adds that are due and hardly more
# loads. In a product these are a multiply-add for each accumulator of the register tile, a vector for each column of
# the tile and a broadcast for each row; in softmax and grad six multiply-adds of 2^x and the scores (grad: and dp) for
# each vector. half_qk and half_pv (fp16 arithmetic, where FILE has it) are judged by their multiply-adds of halves;
# those of floats stand around them. The sixteen registers of AVX2 do not hold the constants of 2^x and of the rows besides: there the
# constants may be operands in memory, on the stack, too, but nothing may be stored there.
set -eu
objdump=$1 file=$2
shift 2

# check SYMBOL MULTIPLY-ADDS LOADS CONSTANTS [OPERANDS]: of one turn, how many constants may lie in memory, and what the
# lines of the multiply-adds that count contain
check() {
    "$objdump" -d --no-show-raw-insn "--disassemble=$1" "$file" | awk \
        -v symbol="$1" -v due="$2" -v due_loads="$3" -v constants="$4" -v operands="${5:-.}" '
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
        if (text ~ /^(j[a-z]+|b\.[a-z]+|cbn?z|tbn?z)[ \t]/ && text !~ /^jmp/ && match(text, /[0-9a-f]+ <[^>]*>/)) {
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
                if (line[k] ~ /^(vfn?m(add|sub)[0-9]*[a-z]*|fml[as])[ \t]/ && line[k] ~ operands) fma++
                loads += loads_of(line[k])
                if (line[k] ~ /\(%rsp|\[sp/ && line[k] ~ /%[xyz]mm|[ \t][vqs][0-9]/) # d: saved for the caller
                    stack += !constants || line[k] ~ /\(%rsp[^)]*\)$/
            }
            if (fma) checked++
            if (fma && stack) { printf "%s: %d stack accesses beside %d multiply-adds\n", symbol, stack, fma; bad = 1 }
            if (fma > widest) { widest = fma; widest_loads = loads }
        }
        turns = widest / due
        ideal = turns * (due + due_loads + constants)
        if (widest + widest_loads > 1.1 * ideal) { printf "%s: %d multiply-adds and %d loads, %d together would do\n", symbol, widest, widest_loads, ideal; bad = 1 }
        if (widest < due) { printf "%s: the widest loop has %d multiply-adds, %d are due\n", symbol, widest, due; bad = 1 }
        if (!bad) printf "%s: %d loops, the widest with %d multiply-adds and %d loads\n", symbol, checked, widest, widest_loads
        exit bad
    }'
}

bad=0
for isa in "$@"; do
    case $isa in # the register tile, rows x vectors, and the constants of softmax and grad that find no register
    avx2) rows=6 vectors=2 softmax=4 grad=5 ;;
    avx512 | neon) rows=6 vectors=4 softmax=0 grad=0 ;;
    *) continue ;; # scalar: the compiler may do as it likes
    esac
    for slot in qk pv kv_grad; do
        check "fattn_${slot}_$isa" $((rows * vectors)) $((rows + vectors)) 0 || bad=1
    done
    for slot in half_qk half_pv; do
        "$objdump" -t "$file" | grep -q "fattn_${slot}_$isa\$" || continue
        check "fattn_${slot}_$isa" 12 8 0 'ph |[.]8h' || bad=1 # 6 x 2
    done
    check "fattn_softmax_$isa" $((6 * vectors)) $vectors $softmax || bad=1
    check "fattn_grad_$isa" 6 4 $grad || bad=1 # scores, dp, the words of hide and keep
done
exit $bad
