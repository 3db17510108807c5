#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `fattn train` and `fattn generate` from the shell: exit codes and sentences, runs that are killed or
# interrupted and go on to the same bits, greedy text with and without a cache. usage: cli.sh FATTN TEXT
set -eu
fattn=$1 text=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C FATTN_THREADS=2 OPENBLAS_NUM_THREADS=2
unset FATTN_MODEL FATTN_TEXT || true

fail() {
    echo "FAILED: $*"
    exit 1
}

expect() { # CODE WORDS COMMAND...: the exit code, and WORDS in one line of stderr
    code=$1 words=$2
    shift 2
    got=0
    "$@" >"$dir/out" 2>"$dir/err" || got=$?
    [ "$got" -eq "$code" ] || fail "exit $got instead of $code: $*: $(cat "$dir/err")"
    grep -qF -e "$words" "$dir/err" || fail "no '$words' from $*: $(cat "$dir/err")"
    [ "$(wc -l <"$dir/err")" -eq 1 ] || fail "more than a line from $*: $(cat "$dir/err")"
}

small="--text $text --vocab 300 --dim 32 --layers 2 --heads 4 --kv-heads 2 --hidden 48 --batch 4 --seq-len 48"
train() { # OPTION...
    "$fattn" train $small --steps 500 --warmup 5 "$@"
}

got=0
train --out-dir "$dir/whole" --csv "$dir/loss.csv" --plot "$dir/loss.svg" >"$dir/out" 2>"$dir/err" || got=$?
if grep -q OpenBLAS "$dir/err"; then
    echo 'not run: fattn train: no OpenBLAS'
    exit 77
fi
[ "$got" -eq 0 ] || fail "train: exit $got: $(cat "$dir/err")"
grep -q 'parameters, 500 steps, loss .*bits per byte' "$dir/out" || fail "report: $(cat "$dir/out")"
[ "$(wc -l <"$dir/loss.csv")" -eq 501 ] || fail 'the csv does not have a line per step'
grep -q '</svg>' "$dir/loss.svg" || fail 'no plot'

# Killed without warning, twice; then interrupted. Every time the run goes on from its last checkpoint.
killed="$dir/killed"
"$fattn" train $small --steps 500 --warmup 5 --out-dir "$killed" --checkpoint-every 1 >/dev/null 2>&1 &
pid=$!
until [ -f "$killed/checkpoint.safetensors" ]; do sleep 0.02; done
kill -9 $pid
wait $pid || true
"$fattn" train $small --steps 500 --warmup 5 --out-dir "$killed" --checkpoint-every 1 --resume >/dev/null 2>&1 &
pid=$!
sleep 0.15
kill -9 $pid 2>/dev/null || true
wait $pid || true
"$fattn" train $small --steps 500 --warmup 5 --out-dir "$killed" --resume >/dev/null 2>"$dir/err" &
pid=$!
sleep 0.2
kill -INT $pid 2>/dev/null || true
wait $pid || fail "an interrupted run must end well: $(cat "$dir/err")"
train --out-dir "$killed" --resume >/dev/null 2>&1 || fail 'no resume'
for name in model.safetensors checkpoint.safetensors config.json tokenizer.json; do
    cmp "$dir/whole/$name" "$killed/$name" || fail "$name differs after interruptions"
done

# Text: the cache changes nothing, a seed repeats.
"$fattn" generate --model "$dir/whole" --prompt 'The licence' --check >"$dir/out" 2>"$dir/err" || fail 'the cache changes tokens'
grep -q '0 elsewhere' "$dir/err" || fail "$(cat "$dir/err")"
once=$("$fattn" generate --model "$dir/whole" --prompt 'You' --temperature 1.2 --top-k 40 --top-p 0.95 --seed 3)
again=$("$fattn" generate --model "$dir/whole" --prompt 'You' --temperature 1.2 --top-k 40 --top-p 0.95 --seed 3)
other=$("$fattn" generate --model "$dir/whole" --prompt 'You' --temperature 1.2 --top-k 40 --top-p 0.95 --seed 4)
[ "$once" = "$again" ] || fail 'a seed does not repeat'
[ "$once" != "$other" ] || fail 'another seed, the same text'
case $once in You*) ;; *) fail "the prompt is missing: $once" ;; esac
plain=$("$fattn" generate --model "$dir/whole" --prompt 'The licence' --max-tokens 5)
half=$("$fattn" generate --model "$dir/whole" --prompt 'The licence' --max-tokens 5 --cache-dtype f16)
[ "$plain" = "$half" ] || fail 'an f16 cache changes five tokens'
for dtype in f32 f16 i8 e4m3 e5m2; do
    "$fattn" generate --model "$dir/whole" --prompt 'You' --cache-dtype $dtype >/dev/null || fail "cache of $dtype"
done
"$fattn" generate --model "$dir/whole" --prompt 'You' --max-tokens 5 --json | grep -q '"tokens"' || fail 'no JSON'

expect 64 'steps' "$fattn" train --text "$text" --steps 0
expect 64 'hidden_size 31' "$fattn" train --text "$text" --dim 31
expect 64 'do not divide' "$fattn" train --text "$text" --heads 4 --dim 32 --kv-heads 3
expect 64 'lr' "$fattn" train --text "$text" --lr fast
expect 65 'No such file' "$fattn" train --text "$dir/nothing" --out-dir "$dir/none"
expect 65 'batch' "$fattn" train $small --batch 5 --steps 500 --warmup 5 --out-dir "$killed" --resume
expect 65 'nothing' "$fattn" generate --model "$dir/nothing" --prompt x
expect 64 'prompt' "$fattn" generate --model "$dir/whole"
expect 64 'at most 47' "$fattn" generate --model "$dir/whole" --prompt "$(head -c 2000 "$text")"
expect 64 'max-tokens' "$fattn" generate --model "$dir/whole" --prompt You --max-tokens 48
expect 64 'check' "$fattn" generate --model "$dir/whole" --prompt You --check --temperature 1
expect 64 'by itself' "$fattn" generate --model "$dir/whole" --prompt You --check --cache-dtype i8
expect 64 'cache-dtype' "$fattn" generate --model "$dir/whole" --prompt You --cache-dtype i32
head -c 1000 "$dir/whole/model.safetensors" >"$killed/model.safetensors"
expect 65 'model.safetensors' "$fattn" generate --model "$killed" --prompt You
echo '{' >"$killed/config.json"
expect 65 'config.json' "$fattn" generate --model "$killed" --prompt You
echo "all good"
