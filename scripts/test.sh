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

# Tests say "not run: WHAT" or "not run here: SET...", a word for each set. Inside kernel_neon "here" is the emulated
# machine; and where it passed, NEON did run.
missed=$(awk '
    / Testing: /                 { name = $3 }
    name == "kernel_neon" && /^Test Passed/ { neon = 1 }
    /not run: /                  { sub(/.*not run: */, ""); seen[$0] }
    /not run here: / && name != "kernel_neon" {
        sub(/.*not run here: */, ""); for (i = 1; i <= NF; i++) seen[$i]
    }
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
