#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [--probe] [--seconds N] [--executions N] — the fuzzers of tests/fuzz.
#   --probe          only tells by its exit status whether clang is here with its fuzzer's run time
#   --seconds N      N seconds in all (60), shared by the fast fuzzers and by the same ones under ASan + UBSan
#                    with those that look into files and lines, as many at a time as there are processors
#   --executions N   the fast fuzzers until all public functions together were called N times and each of
#                    them a hundredth of that, then the others for N seconds
# What they found worth keeping stays in build/fuzz*/corpus for the next time; an input that broke something
# becomes build/fuzz*/<name>-crash-…. The end is a table of calls per public function; one that was never
# called is a failure.
set -eu
cd "$(dirname "$0")/.."
seconds=60 executions=0 probe=
while [ $# -gt 0 ]; do
    case $1 in
    --probe) probe=1 && shift ;;
    --seconds) seconds=$2 && shift 2 ;;
    --executions) executions=$2 && shift 2 ;;
    *) echo "fuzz.sh [--probe] [--seconds N] [--executions N]" >&2 && exit 64 ;;
    esac
done
links() { # an empty fuzzer
    echo 'int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return !data && size; }' |
        clang -fsanitize=fuzzer,address,undefined -x c - -o "$1" >/dev/null 2>&1
}
empty=$(mktemp)
trap 'rm -f "$empty"' EXIT
links "$empty" || status=77
if [ -n "$probe" ]; then exit "${status:-0}"; fi
if [ -n "${status:-}" ]; then
    echo "not run: the fuzzers of tests/fuzz (no clang with libFuzzer; Debian: clang, libclang-rt-dev)"
    exit 77
fi
jobs=$(nproc 2>/dev/null || echo 2)
fast='fuzz_calls fuzz_caches fuzz_handles'
thorough="$fast fuzz_args fuzz_files fuzz_line"
for preset in fuzz-fast fuzz; do
    cmake --preset $preset >/dev/null
    targets=$fast
    [ $preset = fuzz ] && targets=$thorough
    # shellcheck disable=SC2086
    cmake --build build/$preset -j "$jobs" --target $targets >build/$preset/build.log 2>&1 ||
        { tail -50 build/$preset/build.log && exit 1; }
done
# As everywhere else, asking for more memory than there is must give NULL and not the end.
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1}"
export FATTN_FUZZ_COUNTS="$PWD/build/fuzz-fast/counts"
: >"$FATTN_FUZZ_COUNTS"
work=$(mktemp -d)
trap 'rm -rf "$work" "$empty"' EXIT

one() { # PRESET NAME SECONDS SEED
    mkdir -p "build/$1/corpus/$2"
    if build/"$1"/tests/fuzz/"$2" -max_total_time="$3" -seed="$4" -max_len=512 -entropic=0 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="build/$1/$2-" "build/$1/corpus/$2" >"$work/$1-$2-$4" 2>&1; then
        echo "$1 $2: $(awk '/executed_units/ { print $2 }' "$work/$1-$2-$4") inputs in $3 s"
    else
        tail -60 "$work/$1-$2-$4"
        echo "FAILED: $1 $2" | tee -a "$work/failed"
    fi
}

all() { # SECONDS PRESET:NAME...: `jobs` at a time, so many seconds each
    each=$1 running=0
    shift
    for item; do
        seed=$((seed + 1))
        one "${item%:*}" "${item#*:}" "$each" "$seed" &
        running=$((running + 1))
        [ $((running % jobs)) -ne 0 ] || wait
    done
    wait
}

count() { # the calls of all runs by function: "name calls", least first
    awk '{ n[$1] += $2 } END { for (f in n) print f, n[f] }' "$FATTN_FUZZ_COUNTS" | sort -k2,2n
}

enough() { # all functions together, and the one that was called least
    count | awk -v want="$executions" '{ all += $2 } NR == 1 { least = $2 }
        END { printf "%.0f calls so far, %.0f of the least called function\n", all, least
              exit !(all >= want && least >= want / 100) }'
}

seed=$(date +%s)
if [ "$executions" -gt 0 ]; then
    # Operators need most of the time: they are slow and many.
    until enough || [ -e "$work/failed" ]; do
        items='fuzz-fast:fuzz_caches fuzz-fast:fuzz_caches fuzz-fast:fuzz_handles fuzz-fast:fuzz_calls'
        for _ in 1 2 3 4 5; do items="$items fuzz-fast:fuzz_calls fuzz-fast:fuzz_calls"; done
        # shellcheck disable=SC2086
        all 60 $items
    done
fi
# Ten runs: the operators' fast one counts twice.
items='fuzz-fast:fuzz_calls fuzz-fast:fuzz_calls fuzz-fast:fuzz_caches fuzz-fast:fuzz_handles'
for name in $thorough; do items="$items fuzz:$name"; done
# shellcheck disable=SC2086
all $((seconds * jobs / 10 > 0 ? seconds * jobs / 10 : 1)) $items

echo "calls per public function, both builds:"
count | awk '{ printf "%12d  %s\n", $2, $1; all += $2 } END { printf "%12.0f  in all\n", all }'
for name in $(sed -n 's/^FUNCTION(\(.*\))$/\1/p' tests/fuzz/functions.def) \
    $(sed -n 's/^OPERATOR(\(.*\))$/\1/p' tests/fuzz/functions.def |
        sed 's/.*/fattn_&_args_init fattn_& fattn_&_shapes fattn_&_workspace fattn_&_plan/'); do
    grep -q "^$name " "$FATTN_FUZZ_COUNTS" || echo "FAILED: $name was never called" | tee -a "$work/failed"
done
[ ! -e "$work/failed" ]
