#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh BUILD CC CXX — installs BUILD into an empty prefix and builds strangers' programs against it:
# through pkg-config and through find_package, shared and static, C and C++.
set -eu
build=$1 cc=$2 cxx=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/log" || { cat "$work/log"; exit 1; }

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name fattn.pc)")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir fattn)
case $libdir in "$prefix"/*) ;; *) echo "fattn.pc: libdir $libdir is not under the prefix"; exit 1 ;; esac

echo "pkg-config, shared"
# shellcheck disable=SC2046
$cc -std=c11 "$here/consumer.c" -o "$work/shared" $(pkg-config --cflags --libs fattn) -lm \
    -Wl,-rpath,"$libdir"
"$work/shared"
readelf -d "$work/shared" | grep -q 'libfattn\.so\.0' || { echo "not linked with libfattn.so.0"; exit 1; }

echo "pkg-config, static"
# shellcheck disable=SC2046
$cc -std=c11 -static "$here/consumer.c" -o "$work/static" $(pkg-config --static --cflags --libs fattn)
"$work/static"

echo "pkg-config, C++17"
# shellcheck disable=SC2046
$cxx -std=c++17 "$here/consumer.cpp" -o "$work/cpp" $(pkg-config --cflags --libs fattn) \
    -Wl,-rpath,"$libdir"
"$work/cpp"

echo "find_package, shared and static"
cmake -S "$here/find_package" -B "$work/project" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" >"$work/log" &&
    cmake --build "$work/project" >>"$work/log" || { cat "$work/log"; exit 1; }
for program in c_fattn c_fattn_static cpp_fattn cpp_fattn_static; do
    "$work/project/$program"
done
if readelf -d "$work/project/c_fattn_static" | grep -q libfattn; then
    echo "fattn::fattn_static needs libfattn.so"
    exit 1
fi

# What was installed with the command line, where it was built.
if [ -x "$prefix/bin/fattn" ]; then
    "$prefix/bin/fattn" --version
    for file in share/man/man1/fattn.1 share/bash-completion/completions/fattn; do
        [ -s "$prefix/$file" ] || { echo "missing: $file"; exit 1; }
    done
fi
