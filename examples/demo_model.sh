#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Half a minute of `fattn train`, then `fattn generate` with what it learned. usage: demo_model.sh FATTN DIR
# Where the default text is not installed, the licence that every Debian system carries serves.
set -eu
fattn=$1 model=$2
licence=/usr/share/common-licenses/GPL-3
set -- --steps 150 --warmup 20 --out-dir "$model"
prompt='And the king said'
if ! "$fattn" info | grep -q '^ *jansson *yes'; then
    echo 'No model is trained: this build has no jansson.'
    exit 0
elif ! "$fattn" info | grep -qE '^ *OpenBLAS *(yes|OpenBLAS)'; then
    echo 'No model is trained: OpenBLAS is not installed.'
    exit 0
elif command -v bible >/dev/null 2>&1; then
    :
elif [ -r "$licence" ]; then
    set -- "$@" --text "$licence" --vocab 512
    prompt='You may'
else
    echo 'No model is trained: the package bible-kjv is not installed.'
    exit 0
fi
echo
echo "8. a model trained here: fattn train $*"
"$fattn" train "$@"
echo
echo "9. fattn generate --prompt '$prompt' --temperature 0.7"
"$fattn" generate --model "$model" --prompt "$prompt" --temperature 0.7 --seed 4
