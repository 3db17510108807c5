/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_caches.c — an input is the life of a paged cache: how it is made, and up to 40 steps with
 * any arguments; or a few tensors quantised, one after the other. Rows and tables lie in small buffers; what
 * claims more has no data. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/functions.h"
#include "fuzz/room.h"

enum { STEPS = 40, SEQUENCES = 8, BUFFER = 16384, MOST = 1024 };

static fattn_context *context;
static _Alignas(64) unsigned char rows[BUFFER], out[BUFFER];

static void start(void)
{
    context = room_context(0, NULL);
    functions_report_at_exit();
    room_mark();
}

static int64_t some_sequence(source *s)
{
    return source_pick(s, 8) ? source_pick(s, SEQUENCES) : source_nasty(s);
}

static int64_t some_count(source *s)
{
    return source_pick(s, 4) ? source_pick(s, 20) : source_extent(s);
}

/* A tensor of `rank` extents whose data, if all of it is there, is in `buffer`. */
static fattn_tensor some_tensor(unsigned char *buffer, fattn_dtype dtype, int rank,
                                const int64_t *shape, source *s)
{
    fattn_tensor t = fattn_tensor_contiguous(NULL, dtype, rank, shape);
    const int a = source_pick(s, rank);
    switch (source_pick(s, 16)) {
    case 0:
        t.dtype = (fattn_dtype)(source_pick(s, FATTN_DTYPE_COUNT + 2) - 1);
        break;
    case 1:
        t.rank = (int32_t)source_int(s);
        break;
    case 2:
        t.shape[a] = source_extent(s);
        break;
    case 3:
        t.strides[a] = source_extent(s);
        break;
    case 4:
        t.strides[a] *= t.strides[a] > INT64_MIN ? -1 : 0;
        break;
    case 5:
        return t;
    default:
        break;
    }
    const int64_t size = (int64_t)fattn_dtype_size(t.dtype), half = size ? BUFFER / 2 / size : 0;
    if (claim_fits(&t, half, half, MOST)) t.data = buffer + BUFFER / 2;
    return t;
}

static fattn_kv_cache_options some_options(source *s)
{
    fattn_kv_cache_options o;
    CALL(fattn_kv_cache_options_init, &o);
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16,  FATTN_BF16, FATTN_I8,
                                         FATTN_I4,  FATTN_E4M3, FATTN_E5M2};
    static float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    static fattn_tensor scale;
    o.dtype = dtypes[source_pick(s, 7)];
    o.granularity = (fattn_granularity)source_pick(s, 5);
    scale = fattn_tensor_contiguous(ones, FATTN_F32, 1, (int64_t[]){1 + source_pick(s, 8)});
    if (o.granularity != FATTN_PER_TOKEN && o.granularity != FATTN_PER_TOKEN_HEAD)
        o.key_scale = o.value_scale = &scale;
    if (source_pick(s, 16) == 0) o.value_scale = o.value_scale ? NULL : &scale;
    o.layout = (fattn_cache_layout)source_pick(s, 2);
    o.n_blocks = 1 + source_pick(s, 9), o.block_size = 1 + source_pick(s, 4);
    o.n_kv_heads = source_pick(s, 4) ? 1 : 2, o.head_dim = o.dtype == FATTN_I4 ? 8 : 4, o.max_sequences = 1 + source_pick(s, SEQUENCES);
    o.n_layers = 1 + source_pick(s, 2);
    int64_t *const numbers[] = {&o.n_layers, &o.n_blocks,       &o.block_size,   &o.n_kv_heads,
                                &o.head_dim, &o.value_head_dim, &o.max_sequences};
    for (int n = source_pick(s, 4); n > 1; n--) *numbers[source_pick(s, 7)] = source_extent(s);
    switch (source_pick(s, 32)) {
    case 0:
        o.dtype = (fattn_dtype)source_int(s);
        break;
    case 1:
        o.layout = (fattn_cache_layout)source_int(s);
        break;
    case 2:
        o.size = (size_t)source_nasty(s);
        break; /* too big must be refused unread */
    default:
        break;
    }
    if (o.size > sizeof o && o.size <= sizeof o + 4096) o.size = sizeof o - 1;
    return o;
}

static void step_rows(fattn_kv_cache *cache, const fattn_kv_cache_options *o, source *s)
{
    const int64_t n = some_count(s), first = some_count(s), sequence = some_sequence(s);
    const int64_t dv = o->value_head_dim ? o->value_head_dim : o->head_dim;
    const fattn_dtype dtype = o->dtype <= FATTN_BF16 ? o->dtype : FATTN_BF16;
    const fattn_tensor key =
        some_tensor(rows, dtype, 3, (int64_t[]){n, o->n_kv_heads, o->head_dim}, s);
    const fattn_tensor value = some_tensor(rows, dtype, 3, (int64_t[]){n, o->n_kv_heads, dv}, s);
    if (source_pick(s, 2))
        check_status(
            CALL(fattn_kv_cache_append, cache, sequence, &key, source_pick(s, 16) ? &value : NULL),
            "append");
    else
        check_status(CALL(fattn_kv_cache_write, cache, source_pick(s, 4) ? -1 : some_count(s),
                          sequence, first, source_pick(s, 16) ? &key : NULL, &value),
                     "write");
}

static void step_table(fattn_kv_cache *cache, source *s)
{
    int64_t ids[SEQUENCES];
    const fattn_dtype dtype = source_pick(s, 2) ? FATTN_I32 : FATTN_I64;
    for (int i = 0; i < SEQUENCES; i++) ids[i] = some_sequence(s);
    const int64_t claimed = some_count(s);
    const int64_t n = claimed > SEQUENCES && claimed <= 1 << 24 ? SEQUENCES : claimed;
    if (source_pick(s, 2)) {
        const fattn_tensor t = some_tensor(out, dtype, 2, (int64_t[]){n, some_count(s)}, s);
        /* more sequences than ids: only where the table cannot have as many rows */
        const bool safe = n <= SEQUENCES || t.shape[0] != n;
        check_status(CALL(fattn_kv_cache_block_table, cache, source_pick(s, 16) ? ids : NULL,
                          safe ? n : SEQUENCES, &t),
                     "block_table");
        return;
    }
    const fattn_tensor t = some_tensor(out, dtype, 1, (int64_t[]){claimed}, s);
    check_status(CALL(fattn_kv_cache_slot_mapping, cache, ids[0], some_count(s), claimed, &t),
                 "slot_mapping");
}

static void step_look(fattn_kv_cache *cache, source *s)
{
    fattn_tensor key, value;
    int mode = 0;
    fattn_kv_cache_usage usage = {.size = source_pick(s, 8) ? sizeof usage
                                                            : (size_t)source_pick(s, 64)};
    if (source_pick(s, 2)) {
        check_status(CALL(fattn_kv_cache_tensors, cache, some_count(s),
                          source_pick(s, 16) ? &key : NULL, &value),
                     "tensors");
        return;
    }
    if (source_pick(s, 2)) {
        check_status(CALL(fattn_kv_cache_scales, cache, some_count(s), source_pick(s, 8) ? &key : NULL,
                          &value, source_pick(s, 8) ? &mode : NULL),
                     "scales");
        return;
    }
    const fattn_status status = CALL(fattn_kv_cache_get_usage, cache, &usage);
    check_status(status, "get_usage");
    if (status == FATTN_OK && usage.used_blocks + usage.free_blocks != usage.n_blocks)
        failed("%lld used and %lld free blocks of %lld", (long long)usage.used_blocks,
               (long long)usage.free_blocks, (long long)usage.n_blocks);
}

static void step(fattn_kv_cache *cache, const fattn_kv_cache_options *o, source *s)
{
    int64_t id = -1;
    const int64_t sequence = some_sequence(s);
    switch (source_pick(s, 12)) {
    case 0:
        check_status(CALL(fattn_kv_cache_add, cache, source_pick(s, 16) ? &id : NULL), "add");
        return;
    case 1:
        check_status(CALL(fattn_kv_cache_fork, cache, sequence, &id), "fork");
        return;
    case 2:
        check_status(CALL(fattn_kv_cache_free, cache, sequence), "free");
        return;
    case 3:
        check_status(CALL(fattn_kv_cache_extend, cache, sequence, some_count(s)), "extend");
        return;
    case 4:
        check_status(CALL(fattn_kv_cache_truncate, cache, sequence, some_count(s)), "truncate");
        return;
    case 5:
        if (CALL(fattn_kv_cache_length, cache, sequence) < -1) failed("a length below -1");
        return;
    case 6:
    case 7:
        step_table(cache, s);
        return;
    case 8:
    case 9:
        step_look(cache, s);
        return;
    default:
        step_rows(cache, o, s);
    }
}

/* ---- quantising ---- */

static fattn_quantize_options some_quantising(source *s)
{
    static const fattn_dtype dtypes[] = {FATTN_I8, FATTN_I4, FATTN_E4M3, FATTN_E5M2, FATTN_F16};
    static const char *const layouts[] = {"BNSD", "BSND", "BSH", "TND", NULL};
    fattn_quantize_options o;
    CALL(fattn_quantize_options_init, &o);
    o.dtype = dtypes[source_pick(s, 16) ? source_pick(s, 4) : 4];
    o.granularity = (fattn_granularity)(source_pick(s, 32) ? source_pick(s, 5) : source_int(s));
    o.scale_dtype = (fattn_dtype)(FATTN_F32 + source_pick(s, source_pick(s, 8) ? 3 : 9));
    o.percentile = source_pick(s, 2) ? 100 : (double)source_pick(s, 128);
    o.input_layout = layouts[source_pick(s, 16) ? source_pick(s, 3) : 3 + source_pick(s, 2)];
    o.num_heads = source_pick(s, 8) ? 2 : some_count(s);
    return o;
}

static fattn_tensor some_input(const fattn_quantize_options *o, source *s)
{
    const bool bsh = o->input_layout && o->input_layout[2] == 'H';
    const int64_t four[] = {1 + source_pick(s, 2), 2, 2, 8}, three[] = {four[0], 3, 16};
    return some_tensor(rows, (fattn_dtype)(FATTN_F64 + source_pick(s, 4)), bsh ? 3 : 4,
                       bsh ? three : four, s);
}

/* What shapes() says, in the output buffer; now and then something else. */
static fattn_tensor in_place(fattn_tensor t, size_t at, source *s)
{
    const int64_t half = BUFFER / 2 / (int64_t)(fattn_dtype_size(t.dtype) ? fattn_dtype_size(t.dtype) : 1);
    if (source_pick(s, 32) == 0) t.shape[0] = source_extent(s);
    if (claim_fits(&t, half / 2, half / 2, MOST)) t.data = out + at + BUFFER / 4;
    return t;
}

static void quantise(source *s)
{
    const fattn_quantize_options o = some_quantising(s);
    const fattn_tensor input = some_input(&o, s);
    fattn_tensor codes, scale;
    if (CALL(fattn_quantize_mode, o.granularity, source_pick(s, 2)) < 0) failed("a mode below 0");
    const fattn_status status =
        CALL(fattn_quantize_kv_shapes, source_pick(s, 64) ? &o : NULL, &input, &codes, &scale);
    check_status(status, "quantize shapes");
    if (status != FATTN_OK) return;
    const fattn_tensor c = in_place(codes, 0, s), k = in_place(scale, BUFFER / 2, s);
    if (source_pick(s, 2))
        check_status(CALL(fattn_quantize_kv, context, &o, &input, &c, &k), "quantize_kv");
    else
        check_status(CALL(fattn_quantize_kv_by, context, &o, &input, &k, &c), "quantize_kv_by");
    fattn_calibration *calibration = NULL;
    const fattn_status made = CALL(fattn_calibration_create, context, &o, &calibration);
    check_status(made, "calibration");
    if (made != FATTN_OK && calibration) failed("calibration: a handle on error");
    for (int i = 0; calibration && i < 2; i++) {
        const fattn_tensor more = some_input(&o, s);
        check_status(CALL(fattn_calibration_observe, calibration, &more), "observe");
    }
    if (calibration) check_status(CALL(fattn_calibration_scales, calibration, &k), "calibration scales");
    CALL(fattn_calibration_destroy, calibration);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (!context) start();
    source s = source_of_bytes(bytes, n);
    if (source_pick(&s, 4) == 0) {
        for (int i = 0; i < STEPS && s.left > 0; i++) quantise(&s);
        room_check();
        return 0;
    }
    const fattn_kv_cache_options o = some_options(&s);
    fattn_kv_cache *cache = NULL;
    const fattn_status status =
        CALL(fattn_kv_cache_create, context, source_pick(&s, 64) == 63 ? NULL : &o, &cache);
    check_status(status, "create");
    if (status != FATTN_OK && cache) failed("create: a handle on error");
    for (int i = 0; i < (cache ? STEPS : 4) && s.left > 0; i++) step(cache, &o, &s);
    CALL(fattn_kv_cache_destroy, cache);
    room_check();
    return 0;
}
