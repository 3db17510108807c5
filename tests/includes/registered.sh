#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every tests/**/*.c stands in the CMakeLists.txt of its folder, as name.c or (kernels) in a list as name:
# a test that nobody compiles passes for ever. Runs at the top of the source tree.
set -u
faults=$(find tests -name '*.c' | while read -r file; do
    name=$(basename "$file" .c)
    grep -qwE "$name(\.c)?" "$(dirname "$file")/CMakeLists.txt" || echo "$file: its CMakeLists.txt does not name it"
done)
[ -z "$faults" ] && exit 0
echo "$faults"
exit 1
