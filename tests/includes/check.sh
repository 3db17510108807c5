#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check.sh — who may include whom. Includes point down only (docs/tour.md, "The house"):
#   base <- core <- {cpu, ref} <- exec <- api; kernels know kernels.h, vec.h and half.h and nobody else;
#   io, tools and examples stand outside and see the public headers only. Run from the repository root.
set -eu
export LC_ALL=C

# allowed FOLDER: the shell patterns that its quoted includes may match; BARE = names of its own folder.
allowed() {
    case $1 in
    include/fattn) echo 'BARE' ;;
    src/base) echo 'base/* fattn/types.h fattn/status.h fattn/context.h fattn/generator.h' ;;
    src/core) echo 'base/* core/* fattn/*' ;;
    src/ref) echo 'base/* core/* ref/* fattn/*' ;;
    src/cpu) echo 'base/* core/* cpu/* fattn/*' ;;
    src/cpu/kernel) echo '../kernels.h ../simd/vec.h ../simd/half.h' ;;
    src/cpu/simd) echo 'BARE' ;;
    src/cpu/special) echo '../kernels.h' ;;
    src/exec) echo 'base/* core/* exec/* fattn/*' ;;
    src/api) echo 'base/* core/* exec/* api/* fattn/*' ;;
    src/api/verify.c) echo 'base/* core/* exec/* api/* ref/ref.h fattn/*' ;;
    src/api/verify_grad.c) echo 'base/* core/* exec/* api/* ref/grad.h fattn/*' ;;
    io) echo 'BARE io/* fattn/*' ;;
    train) echo 'BARE io/* base/mutant.h fattn/*' ;;
    tools) echo 'BARE io/* train/* fattn/*' ;;
    examples) echo 'BARE io/* train/* fattn/*' ;;
    *) echo '' ;;
    esac
}

matches() { # matches TEXT PATTERN... (patterns must not meet file names: set -f)
    text=$1
    shift
    for pattern in "$@"; do
        case $pattern:$text in
        BARE:*/*) continue ;;
        BARE:*) return 0 ;;
        esac
        # shellcheck disable=SC2254
        case $text in
        *..*) [ "$text" = "$pattern" ] && return 0 ;;
        $pattern) return 0 ;;
        esac
    done
    return 1
}

set -f
bad=0
checked=0
complain() {
    echo "$1: must not include $2"
    bad=$((bad + 1))
}

list=$(find include/fattn src io train tools examples -name '*.[ch]' | sort)
for file in $list; do
    folder=${file%/*}
    rule=$(allowed "$file")
    [ -n "$rule" ] || rule=$(allowed "$folder")
    [ -n "$rule" ] || { echo "$folder: no include rule for this folder"; bad=$((bad + 1)); continue; }
    for name in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file"); do
        checked=$((checked + 1))
        # shellcheck disable=SC2086
        matches "$name" $rule || complain "$file" "\"$name\""
    done
    for name in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*<\([^>]*\)>.*/\1/p' "$file"); do
        checked=$((checked + 1))
        case $folder:$name in
        src/cpu/simd:* | src/cpu/special:*) ;;                                   # intrinsics live here
        *:*intrin.h | *:arm_*.h) complain "$file" "<$name>" ;;
        include/fattn:std*.h | src/cpu/kernel:std*.h | src/cpu/kernel:float.h) ;;
        include/fattn:* | src/cpu/kernel:*) complain "$file" "<$name>" ;;
        esac
    done
done

# Only a foreign backend may read the arguments behind a problem, only env.c the environment.
set +f
for file in $(grep -rl --include='*.c' 'getenv' src | grep -v '^src/base/env.c$' || true); do
    echo "$file: reads the environment; only src/base/env.c may"
    bad=$((bad + 1))
done
# Compiler flags that break online softmax.
for file in $(grep -rlE --include=CMakeLists.txt --include='*.cmake' \
    '^[^#]*(-ffast-math|-Ofast|-ffinite-math-only)' CMakeLists.txt cmake src io tools examples || true); do
    echo "$file: fast-math is not allowed"
    bad=$((bad + 1))
done

[ "$checked" -gt 100 ] || { echo "only $checked includes found: wrong folder?"; exit 1; }
echo "$checked includes checked, $bad against the rule"
[ "$bad" -eq 0 ]
