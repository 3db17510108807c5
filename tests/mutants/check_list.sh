#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The mutants of mutants.list and those of the sources are the same ones, each in the one file that is named
# there; and no file of these rooms goes without.
# usage: check_list.sh SOURCE                     exit 1 with a line for every fault
set -u
source=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

fault() { echo "$1" | tee -a "$work/faults"; }

sed '/^#/d; /^ *$/d' "$source/tests/mutants/mutants.list" >"$work/list"

# Where each number stands: "number file", once however often the file uses it.
(cd "$source" && grep -roE 'MUTANT\([0-9]+,' src train --include='*.[ch]') |
    sed -E 's/^([^:]*):MUTANT\(([0-9]+),/\2 \1/' | sort -u >"$work/places"

for room in base core ref cpu cpu/kernel exec api; do
    for file in "$source/src/$room"/*.c; do
        grep -q "^[0-9]* ${file#"$source"/} " "$work/list" || fault "${file#"$source"/} has no mutant"
    done
done

while read -r number file; do
    [ "$(grep -c "^$number " "$work/list")" -eq 1 ] ||
        fault "mutant $number of $file does not stand exactly once in mutants.list"
done <"$work/places"

while read -r number file test what; do
    [ "$(sed -n "s/^$number //p" "$work/places")" = "$file" ] ||
        fault "mutant $number is not in $file alone"
    [ -n "$test" ] && [ -n "$what" ] || fault "mutant $number: the test or what is broken is missing"
done <"$work/list"

echo "$(wc -l <"$work/list") mutants"
[ -s "$work/list" ] && [ ! -s "$work/faults" ]
