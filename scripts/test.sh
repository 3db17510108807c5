#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test.sh BUILD [CTEST-OPTION...] — runs the tests; the last lines name what could not run.
# FATTN_REQUIRE=avx512,python turns "could not run" into a failure for these words.
set -u
build=$1
shift
jobs=$(nproc 2>/dev/null || echo 2)
status=0
# As everywhere else, asking for more memory than there is must give NULL and not the end.
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-allocator_may_return_null=1}"
ctest --test-dir "$build" --no-tests=error --output-on-failure -j "$jobs" "$@" || status=1

# Tests say "not run: WHAT" or "not run here: SET...". Inside kernel_neon "here" is the emulated machine; and
# where it passed, NEON did run.
missed=$(awk '
    / Testing: /                 { name = $3 }
    name == "kernel_neon" && /^Test Passed/ { neon = 1 }
    name == "kernel_neon" && /not run here:/ { next }
    /not run( here)?: /          { sub(/.*not run( here)?: */, ""); seen[$0] }
    END { for (what in seen) if (!(what == "neon" && neon)) print what }
' "$build/Testing/Temporary/LastTest.log" 2>/dev/null | sort)

for word in $(echo "${FATTN_REQUIRE:-}" | tr ',' ' '); do
    if echo "$missed" | grep -qiw "$word"; then
        echo "required, but did not run: $word"
        status=1
    fi
done
if [ -n "$missed" ]; then
    echo "$(echo "$missed" | wc -l) thing(s) could not run here:"
    echo "$missed" | sed 's/^/  not run: /'
else
    echo "everything ran"
fi
exit $status
