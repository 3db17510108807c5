# SPDX-License-Identifier: Apache-2.0
"""check.py — the library against formulas written a second time, in NumPy.

The reference inside the library shares the translation of arguments with the kernels, so a sparse
mode read wrongly would agree with itself. Here raw arguments meet an oracle that shares nothing.
  check.py --library FILE [--cases N] [--seed S|random] [--only OPERATOR:INDEX]"""
import argparse
import collections
import os
import sys
import time

import numpy as np

import cases
import compare
import golden
import infer_cases
from cases import Draw
from library import Library

SHARES = {
    'fusion_attention': 0.34, 'fused_infer_attention_score': 0.30, 'prompt_flash_attention': 0.12,
    'incre_flash_attention': 0.12, 'advance_step_flashattn': 0.04, 'attention_update': 0.04,
    'ring_attention_update': 0.04
}
# Each of these must make up 2 % of its operator's cases (when there are enough of them to say so).
EXPECTED = {
    'fusion_attention': [
        'BSH', 'SBH', 'BSND', 'BSNH', 'BNSD', 'TND', 'f32', 'f16', 'bf16', 'f64', 'gqa', 'mha',
        'Dv<D', 'sink', 'rope', 'pse0', 'pse1', 'pse2', 'pse3', 'empty row', 'mask none',
        'mask compressed', 'mask 2-D', 'mask B1SS', 'mask BNSS', 'stats TND'
    ] + [f'mode{m}' for m in range(9)],
    'fused_infer_attention_score': [
        'BSH', 'BSND', 'BNSD', 'TND', 'f32', 'f16', 'bf16', 'f64', 'gqa', 'Dv<D', 'paged', 'BnBsH',
        'BnNBsD', 'lse', 'pse', 'empty row', 'q lengths', 'kv lengths', 'mask none',
        'mask compressed', 'mask row'
    ] + [f'mode{m}' for m in range(5)],
    'prompt_flash_attention': [
        'BSH', 'BSND', 'BNSD', 'TND', 'f32', 'f16', 'bf16', 'gqa', 'Dv<D', 'pse', 'empty row'
    ] + [f'mode{m}' for m in range(5)],
    'incre_flash_attention': [
        'BSH', 'BSND', 'BNSD', 'f32', 'f16', 'bf16', 'gqa', 'Dv<D', 'paged', 'long', 'mask row',
        'pse', 'empty row'
    ],
}


def one(library, op, seed, index):
    """(sentences, the call as a line, tags) of one case."""
    draw = Draw(seed, index)
    make = getattr(cases, op, None) or getattr(infer_cases, op)
    a, tags = make(draw)
    line = compare.describe(op, a)
    try:
        wrong = compare.run(library, draw, op, a, tags)
    except Exception as error:  # the oracle itself: show which case
        print(f'oracle failed on {op}:{index}: {line}')
        raise error
    return wrong, line, tags


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--library', required=True)
    parser.add_argument('--cases',
                        type=int,
                        default=6000 if os.environ.get('FATTN_TEST_FULL') else 1200)
    parser.add_argument('--seed', default='20261')
    parser.add_argument('--only')
    parser.add_argument('--stop', type=int, default=10, help='failures shown before giving up')
    options = parser.parse_args()
    seed = int(time.time()) if options.seed == 'random' else int(options.seed)
    np.seterr(over='ignore', under='ignore')
    library = Library(options.library)
    print(f'seed {seed}')

    if options.only:
        op, index = options.only.split(':')
        wrong, line, _ = one(library, op, seed, int(index))
        print(line, *wrong or ['fine'], sep='\n  ')
        return bool(wrong)

    failures = golden.check(library)
    for sentence in failures:
        print(f'golden: {sentence}')
    print(f'golden vectors: {golden.count()} checked, {len(failures)} wrong')

    bad, start = 0, time.time()
    for op, share in SHARES.items():
        seen, n = collections.Counter(), max(1, round(options.cases * share))
        for index in range(n):
            wrong, line, tags = one(library, op, seed, index)
            seen.update(tags)
            if wrong:
                bad += 1
                print(f'WRONG {line}',
                      *wrong,
                      f'again: --seed {seed} --only {op}:{index}',
                      sep='\n  ')
            if bad >= options.stop:
                print('too many failures')
                return 1
        histogram = ', '.join(f'{tag} {100 * count // n}%' for tag, count in sorted(seen.items()))
        print(f'{op}: {n} cases; {histogram}')
        rare = [tag for tag in EXPECTED.get(op, []) if seen[tag] * 50 < n and n >= 150]
        if rare:
            bad += 1
            print(f'{op}: in fewer than 2 % of the cases: {", ".join(rare)}')
    print(f'{sum(round(options.cases * s) for s in SHARES.values())} random cases, {bad} wrong, '
          f'{time.time() - start:.0f} s')
    return bool(bad or failures)


if __name__ == '__main__':
    sys.exit(main())
