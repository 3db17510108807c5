#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds every mutant of mutants.list and runs the test that is named there: it must fail. The tests
# run once without a mutant first, since a test that fails anyway kills nothing.
# usage: run.sh SOURCE BUILD [NUMBER...]        exit 1 when a mutant survives
set -u
source=$1 build=$2
shift 2
list=$source/tests/mutants/mutants.list
wanted=" $* "
killed=0 survived=0 broken=0

configure() { # number
    cmake -S "$source" -B "$build" -DFATTN_MUTANT="$1" >"$build/mutant.log" 2>&1 && return
    cat "$build/mutant.log"
    exit 1
}

compile() { # target...
    cmake --build "$build" -j "${JOBS:-2}" --target "$@" >"$build/mutant.log" 2>&1
}

# The lines that are asked for: number file test what.
mutants() {
    sed '/^#/d; /^ *$/d' "$list" | while read -r number rest; do
        case $wanted in '  ' | *" $number "*) echo "$number $rest" ;; esac
    done
}

tests() { mutants | cut -d ' ' -f 3 | sort -u | sed 's/^/test_/'; }

program() { find "$build" -type f -name "$1" | head -n 1; }

# Leaves the name of the first failing case in $culprit. 77 = the test could not run: no kill.
fails() { # test
    timeout "${MUTANT_TIMEOUT:-300}" "$(program "$1")" >"$build/mutant.log" 2>&1
    status=$?
    culprit=$(sed -n 's/^\[  FAILED  \] \([A-Za-z_][A-Za-z_0-9]*\).*/\1/p' "$build/mutant.log" | head -n 1)
    [ -n "$culprit" ] || culprit="exit status $status"
    [ $status -ne 0 ] && [ $status -ne 77 ]
}

sh "$source/tests/mutants/check_list.sh" "$source" || exit 1
mkdir -p "$build"
cmake -S "$source" -B "$build" -DFATTN_BUILD_TOOLS=ON -DFATTN_BUILD_TESTS=ON \
    -DCMAKE_BUILD_TYPE=Release -DFATTN_MUTANT=0 >"$build/mutant.log" 2>&1 ||
    { cat "$build/mutant.log"; exit 1; }
# shellcheck disable=SC2046
compile $(tests) || { tail -n 30 "$build/mutant.log"; exit 1; }
for name in $(tests); do
    if fails "$name"; then
        tail -n 30 "$build/mutant.log"
        echo "$name fails without any mutant"
        exit 1
    fi
done

mutants >"$build/mutants.todo"
while read -r number file test what; do
    configure "$number"
    if ! compile "test_$test" </dev/null; then
        tail -n 30 "$build/mutant.log"
        echo "mutant $number ($file) does not build"
        broken=$((broken + 1))
    elif fails "test_$test" </dev/null; then
        killed=$((killed + 1))
        echo "killed   $number $file: $what -- by $test: $culprit"
    else
        survived=$((survived + 1))
        echo "SURVIVED $number $file: $what -- $test passed"
    fi
done <"$build/mutants.todo"
configure 0
echo "$killed killed, $survived survived, $broken not built"
[ "$survived" -eq 0 ] && [ "$broken" -eq 0 ] && [ "$killed" -gt 0 ]
