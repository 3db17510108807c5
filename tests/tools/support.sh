#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# support.sh PROGRAM FILE: the support table in the docs is what the checker says now.
set -eu
new=$(mktemp)
trap 'rm -f "$new"' EXIT
"$1" >"$new"
rows=$(grep -c '^| ' "$new")
[ "$rows" -gt 100 ] || { echo "only $rows rows: the program does not ask"; exit 1; }
grep -q 'yes / \[' "$new" || { echo "strict mode refuses nothing: the program does not ask"; exit 1; }
diff "$2" "$new" >&2 && exit 0
echo "$2 is not what the checker says. To make it so:"
echo "    cmake --build BUILD --target support_table"
exit 1
