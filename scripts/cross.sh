#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cross.sh [CTEST-OPTION...] — the AArch64 build (NEON kernels) and its tests under qemu-user. Needs
# gcc-aarch64-linux-gnu, qemu-user and cmocka for arm64; as root on Debian or Ubuntu it fetches them.
# Exit 77 when something cannot be had. TOOLS=ON builds the command line, too, and the tests of problem lines:
# `TOOLS=ON sh scripts/cross.sh -R accuracy` compares the NEON column of tests/cases/accuracy.list.
set -eu
cd "$(dirname "$0")/.."
build=build/aarch64
cmocka=$build-packages

have() { command -v "$1" >/dev/null 2>&1; }
tools() { have aarch64-linux-gnu-gcc && have qemu-aarch64; }
library() { find "$cmocka" -name libcmocka.so 2>/dev/null | head -n 1; }
root_apt() { have apt-get && [ "$(id -u)" = 0 ] && [ -z "${FATTN_NO_INSTALL:-}" ]; }

if ! tools && root_apt; then
    apt-get update >&2 &&
        apt-get install -y --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >&2 || true
fi
if [ -z "$(library)" ] && root_apt; then
    # cmocka for arm64, unpacked beside the build: nothing foreign is installed.
    dpkg --add-architecture arm64 && apt-get update >&2 && mkdir -p "$cmocka" && (
        cd "$cmocka"
        apt-get download libcmocka0:arm64 libcmocka-dev:arm64 >&2
        for package in *.deb; do dpkg -x "$package" .; done
    ) || true
fi
if ! tools || [ -z "$(library)" ]; then
    echo "not run: neon (aarch64-linux-gnu-gcc, qemu-aarch64 or cmocka for arm64 missing)"
    exit 77
fi

cmake --preset aarch64 -DFATTN_BUILD_TOOLS="${TOOLS:-OFF}" -DJANSSON_LIBRARY=OFF -DZIP_LIBRARY=OFF \
    -DFATTN_BUILD_TESTS=ON -DCMOCKA_LIBRARY="$PWD/$(library)" -DCMOCKA_INCLUDE_DIR="$PWD/$cmocka/usr/include" >/dev/null
cmake --build "$build" -j "$(nproc)"
sh scripts/test.sh "$build" "$@"
