# SPDX-License-Identifier: Apache-2.0
"""Shapes of the results, from shapes alone: plain formulas that hold for symbolic sizes as well.

Letters as in the layouts: B batch, S sequence, N query heads, D head dim, H = N * D, T tokens of all sequences.
Nothing is checked here; the library checks when it is called.
"""
from ..errors import ArgumentError

# (batch, rows, heads) of a query by its letters; n is the head count that was said.
EXTENTS = {
    'BSH': lambda q, n: (q[0], q[1], n),
    'SBH': lambda q, n: (q[1], q[0], n),
    'BSND': lambda q, n: (q[0], q[1], q[2]),
    'BNSD': lambda q, n: (q[0], q[2], q[1]),
    'NSD': lambda q, n: (1, q[1], q[0]),
    'SH': lambda q, n: (1, q[0], n),
    'TND': lambda q, n: (1, q[0], q[1]),
    'NTD': lambda q, n: (1, q[1], q[0]),
}
# The shape of a result by its letters; d is the head dim of the values.
SHAPE = {
    'BSH': lambda b, s, n, d: (b, s, n * d),
    'SBH': lambda b, s, n, d: (s, b, n * d),
    'BSND': lambda b, s, n, d: (b, s, n, d),
    'BNSD': lambda b, s, n, d: (b, n, s, d),
    'NBSD': lambda b, s, n, d: (n, b, s, d),
    'NSD': lambda b, s, n, d: (n, s, d),
    'SH': lambda b, s, n, d: (s, n * d),
    'TND': lambda b, s, n, d: (s, n, d),
    'NTD': lambda b, s, n, d: (n, s, d),
}
TRAINING_LAYOUTS = ('BSH', 'SBH', 'BSND', 'BNSD', 'TND')
INFERENCE_LAYOUTS = ('BSH', 'BSND', 'BNSD', 'NSD', 'SH', 'TND', 'NTD', 'BNSD_BSND', 'BSH_BNSD', 'BSND_BNSD',
                     'NTD_TND', 'TND_NTD', 'BSH_NBSD', 'BSND_NBSD', 'BNSD_NBSD')
# layout: letters of the query, letters of the result, the axis of the heads (None: inside H)
LETTERS = {
    name: (name.partition('_')[0], name.partition('_')[2] or name,
           name.partition('_')[0].find('N') if 'N' in name.partition('_')[0] else None)
    for name in (*TRAINING_LAYOUTS, *INFERENCE_LAYOUTS)
}


def plain_reading(layout, query, heads):
    """The letters of `layout` where the query is what it says; None where it needs a second look."""
    letters = LETTERS.get(layout)
    if letters is None or len(query) != len(letters[0]):
        return None
    axis = letters[2]
    return letters if axis is None or query[axis] == heads else None


def lenient_reading(layout, query, heads):
    """The letters by which the library reads the call (docs/calls.md#layouts); for tensors without data."""
    layout = layout.upper()
    letters = LETTERS.get('BSND' if layout == 'BSNH' else layout)
    if letters is None:
        raise ArgumentError(f'input_layout: "{layout}" is not one of {", ".join(LETTERS)}')
    if len(query) != 4:
        return letters

    def says(axis):
        if type(query[axis]) is int and type(heads) is int:
            return query[axis] == heads
        from torch.fx.experimental.symbolic_shapes import statically_known_true  # its import takes half a second
        return statically_known_true(query[axis] == heads)

    as_bsnd = says(2) and not says(1)
    if letters[0] == 'BSH':
        read = 'BSND' if as_bsnd else 'BNSD'
    elif layout == 'BNSD' and as_bsnd:
        read = 'BSND'
    else:
        return letters
    return read, letters[1] if letters[1] != letters[0] else read, LETTERS[read][2]


def head_dim(shape, letters, heads):
    return shape[-1] // heads if letters[-1] == 'H' else shape[-1]


def training(letters, query, key, value, heads):
    """Shapes of attention_out and of softmax_max, softmax_sum."""
    b, s, n = EXTENTS[letters[0]](query, heads)
    d = value[-1]
    if letters[0][-1] == 'H':
        d //= key[-1] // (query[-1] // n)
    return SHAPE[letters[1]](b, s, n, d), (s, n, 8) if letters[0] == 'TND' else (b, n, s, 8)


def numels(letters, query, key, heads, qlen, kvlen):
    """Cells of the score matrices, which are the bits of a dropout mask; 0 where sizes are symbolic."""
    b, s, n = EXTENTS[letters[0]](query, heads)
    if letters[0] == 'TND':
        cells = sum(max(0, q) * max(0, k) for q, k in zip(steps(qlen or ()), steps(kvlen or ())))
    else:
        cells = b * s * EXTENTS[letters[0]](key, heads)[1]
    return n * cells if type(n * cells) is int else 0


def steps(ends):
    return [end - before for before, end in zip((0, *ends), ends)]


def value_dim(value, query_letters, kv_heads, paged, packing):
    """Head dim of the values, which may be a cache; packing: numbers per element (int4 in int32: 8)."""
    rank = len(value)
    if paged:
        d = value[2] // kv_heads if rank == 3 else value[2] * value[4] if rank == 5 else value[-1]
    else:
        d = value[-1] // kv_heads if query_letters[-1] == 'H' and rank < 4 else value[-1]
    return d * packing


def inference(letters, query, value_columns, heads):
    """Shapes of attention_out and of softmax_lse where it is wanted."""
    b, s, n = EXTENTS[letters[0]](query, heads)
    return SHAPE[letters[1]](b, s, n, value_columns), (s, n, 1) if 'T' in letters[0] else (b, n, s, 1)


def same_order(given, wanted):
    """True where one shape is the other with neighbouring axes joined: the same numbers in the same order."""
    if 0 in given or 0 in wanted:
        return 0 in given and 0 in wanted

    def borders(shape):
        product, found = 1, set()
        for extent in shape:
            product *= extent
            found.add(product)
        return product, found | {1}

    (all_given, a), (all_wanted, b) = borders(given), borders(wanted)
    return all_given == all_wanted and (a <= b or b <= a)
