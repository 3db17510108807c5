#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docs.sh — the documents must be true to the tree: every path in them exists, every function they name
# is somewhere in the code; and the code to the documents: every page and section that it names is there.
# Run from the repository root.
set -eu
export LC_ALL=C.UTF-8
folders='python|src|include|tests|docs|cmake|tools|io|scripts|data|bench|examples|\.ci'
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
# The sections of a page, as GitHub names them, and the marks that it sets itself.
anchors() {
    sed -n 's/^##* //p' "$1" | tr 'A-Z' 'a-z' | sed 's/[^a-z0-9_ -]//g; s/ /-/g'
    grep -oE '<a id="[^"]*"' "$1" | sed 's/.*="//; s/"$//'
}
references() { # of headers, sources and the help that is printed from them: FILE:docs/PAGE.md[#SECTION]
    grep -roE --include='*.[ch]' --include='*.def' --include='*.sh' --include='*.py' \
        'docs/[A-Za-z0-9_-]+\.md(#[A-Za-z0-9_-]+)?' include src io tools examples scripts
    grep -noE '\]\([^):]*\.md#[^)]*\)' *.md docs/*.md | sed -E 's,^(docs/)([^:]*):[0-9]+:\]\((.*)\)$,\1\2:docs/\3,
        s,^([^:]*):[0-9]+:\]\((.*)\)$,\1:\2,'
    # [text](#section) of the page itself
    grep -oHE '\]\(#[^)]*\)' *.md bench/README.md data/README.md docs/*.md |
        sed -E 's,^([^:]*):\]\((.*)\)$,\1:\1\2,'
}
for reference in $(references | sort -u); do
    n=$((n + 1))
    from=${reference%%:*} to=${reference#*:}
    page=${to%%#*}
    if [ ! -e "$page" ]; then
        complain "$from" "no such page: $to"
    elif [ "$to" != "$page" ] && ! anchors "$page" | grep -qx -e "${to#*#}"; then
        complain "$from" "no such section: $to"
    fi
done
[ "$n" -gt 40 ] || { echo "only $n names found: wrong folder?"; exit 1; }
echo "$n names checked, $bad wrong"
[ "$bad" -eq 0 ]
