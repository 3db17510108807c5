#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docs.sh — the documents must be true to the tree: every path in them exists, every function they name
# is somewhere in the code. Run from the repository root.
set -eu
export LC_ALL=C.UTF-8
folders='src|include|tests|docs|cmake|tools|io|scripts|data|bench|examples|\.ci'
bad=0
n=0
complain() {
    echo "$1: $2"
    bad=$((bad + 1))
}
for doc in *.md bench/README.md data/README.md docs/*.md; do
    # `src/core/mask.c`, `tests/`; placeholders (<…>) and patterns (*) stand for many.
    for path in $(grep -oE "\`($folders)/[^\` ]*\`" "$doc" |
        tr -d '`' | grep -v '[<*]' | sort -u); do
        n=$((n + 1))
        [ -e "$path" ] || complain "$doc" "no such file: $path"
    done
    # [text](link) to a file of the repository.
    for link in $(grep -oE '\]\([^)#]*' "$doc" | sed 's/^](//' | grep -v '^https\{0,1\}:' | sort -u); do
        n=$((n + 1))
        [ -e "$(dirname "$doc")/$link" ] || complain "$doc" "dead link: $link"
    done
    for name in $(grep -oE '`[a-z_0-9]+\(\)`' "$doc" | tr -d '`()' | sort -u); do
        n=$((n + 1))
        case $name in fattn_*_args_init | _args_init) continue ;; esac
        grep -rqw --include='*.[ch]' "$name" src include tools io examples || complain "$doc" "no such function: $name()"
    done
done
[ "$n" -gt 40 ] || { echo "only $n names found: wrong folder?"; exit 1; }
echo "$n names checked, $bad wrong"
[ "$bad" -eq 0 ]
