#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh — every suite in every dtype, one JSON file each: run.sh FATTN DIR
set -eu
if [ $# -ne 2 ]; then
    echo "usage: run.sh FATTN DIR" >&2
    exit 64
fi
fattn=$1
mkdir -p "$2"
"$fattn" bench --suite quant --json > "$2/quant.json" # has its own dtypes
for suite in guide prefill modes dims scaling decode serving call backward; do
    for dtype in f32 f16 bf16; do
        echo "$suite $dtype" >&2
        "$fattn" bench --suite "$suite" --dtype "$dtype" --json > "$2/$suite-$dtype.json"
    done
done
