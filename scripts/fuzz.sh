#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [SECONDS] — each fuzzer of tests/fuzz for so long (60). What they found worth keeping stays in
# build/fuzz/corpus for the next time; an input that broke something becomes build/fuzz/<name>-crash-….
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
if ! command -v clang >/dev/null 2>&1; then
    echo "not run: the fuzzers of tests/fuzz (no clang)"
    exit 0
fi
fuzzers='fuzz_args fuzz_files fuzz_line'
cmake --preset fuzz >/dev/null
# shellcheck disable=SC2086
cmake --build build/fuzz -j "$(nproc 2>/dev/null || echo 2)" --target $fuzzers
# As everywhere else, asking for more memory than there is must give NULL and not the end.
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1}"
status=0
for name in $fuzzers; do
    echo "=== $name"
    mkdir -p "build/fuzz/corpus/$name"
    build/fuzz/tests/fuzz/"$name" -max_total_time="$seconds" -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" || status=1
done
exit $status
