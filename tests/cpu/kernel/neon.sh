#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# neon.sh SOURCE_DIR BUILD_DIR — the kernel tests for AArch64 on another machine: compiled with the cross
# compiler, run by qemu-user. cmocka is not there for that target; neon/cmocka.h stands in for it.
# Exit 77 where compiler or emulator are missing, unless FATTN_REQUIRE names neon.
set -eu
source=$1 build=$2
cc=aarch64-linux-gnu-gcc
run=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if ! command -v $cc >/dev/null || [ -z "$run" ]; then
    echo "not run here: neon ($cc or qemu-aarch64 is missing)"
    case ${FATTN_REQUIRE:-} in *neon*) exit 1 ;; esac
    exit 77
fi

mkdir -p "$build"
cd "$source"
flags="-std=c11 -O2 -Wall -Wextra -Wshadow -Wconversion -Werror -ffp-contract=off -D_GNU_SOURCE -DFATTN_HAVE_NEON -DFATTN_HAVE_HALF_NEON"
objects=
for kernel in src/cpu/kernel/*.c; do
    for set in SCALAR NEON; do
        object=$build/$(basename "$kernel" .c)_$set.o
        # both as in cmake/isa.cmake
        half=
        case $kernel-$set in *half_tile.c-NEON) half="-march=armv8.2-a+fp16 -fira-region=all" ;; esac
        $cc $flags -fno-schedule-insns $half -DFATTN_ISA_$set -Isrc -c "$kernel" -o "$object"
        objects="$objects $object"
    done
done

failed=0
for slot in affine edit exp2 finite grad half_tile load pv qk softmax small store stream strips table; do
    $cc $flags -static -Itests/cpu/kernel/neon -Itests -Isrc -Iinclude "tests/cpu/kernel/$slot.c" \
        src/cpu/isa.c src/base/cpuinfo.c src/base/cpucount.c src/base/half.c src/base/fp8.c $objects \
        -o "$build/$slot" -lm -lpthread
    echo "== $slot"
    FATTN_REQUIRE= "$run" -cpu max "$build/$slot" || failed=$((failed + 1))
done
echo "== half_tile on a processor without fp16 arithmetic"
FATTN_REQUIRE= "$run" -cpu cortex-a53 "$build/half_tile" | grep "no fp16 arithmetic here: neon" || failed=$((failed + 1))
aarch64-linux-gnu-ld -r $objects -o "$build/all.o"
sh tests/cpu/kernel/inner_loops.sh aarch64-linux-gnu-objdump "$build/all.o" neon || failed=$((failed + 1))
echo "$failed failed"
[ $failed -eq 0 ]
