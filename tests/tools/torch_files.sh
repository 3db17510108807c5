#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# torch_files.sh PYTHON FATTN: files that torch writes, where there is a torch. Exit 77 where there is none.
python=${1:-python3}
if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "not run: files of torch.save() (no torch)"
    exit 77
fi
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" && "$python" -B "$here/torch_files.py" "$2"
