/* SPDX-License-Identifier: Apache-2.0 */
/* harness.c — see harness.h. */
#include "api/harness.h"

#include "base/context.h"
#include "base/half.h"

/* ---- memory
 * -------------------------------------------------------------------------------------- */

enum { MOST_BLOCKS = 4096, MOST_WARNINGS = 16, TEXT = 512 };

static void *blocks[MOST_BLOCKS];
static int n_blocks;
static struct {
    char place[64], text[TEXT];
} spoken[MOST_WARNINGS];
static int n_spoken;

void *harness_alloc(size_t bytes)
{
    assert_true(n_blocks < MOST_BLOCKS);
    void *memory = calloc(1, bytes ? bytes : 1);
    assert_non_null(memory);
    return blocks[n_blocks++] = memory;
}

void forget_warnings(void)
{
    n_spoken = 0;
    warn_reset();
}

void harness_reset(void)
{
    while (n_blocks > 0) free(blocks[--n_blocks]);
    forget_warnings();
}

/* ---- tensors
 * ------------------------------------------------------------------------------------- */

static uint32_t hash(uint32_t x)
{
    x ^= x >> 16, x *= 0x7feb352du;
    x ^= x >> 15, x *= 0x846ca68bu;
    return x ^ x >> 16;
}

static void *cell(const fattn_tensor *t, int64_t at)
{
    return (char *)t->data + at * (int64_t)fattn_dtype_size(t->dtype);
}

static void store(const fattn_tensor *t, int64_t at, double x)
{
    void *to = cell(t, at);
    switch (t->dtype) {
    case FATTN_F64:
        *(double *)to = x;
        break;
    case FATTN_F32:
        *(float *)to = (float)x;
        break;
    case FATTN_F16:
        *(uint16_t *)to = half_to_f16((float)x);
        break;
    case FATTN_BF16:
        *(uint16_t *)to = half_to_bf16((float)x);
        break;
    case FATTN_I64:
        *(int64_t *)to = (int64_t)x;
        break;
    case FATTN_I32:
        *(int32_t *)to = (int32_t)x;
        break;
    default:
        *(uint8_t *)to = (uint8_t)x;
        break;
    }
}

static double load(const fattn_tensor *t, int64_t at)
{
    const void *from = cell(t, at);
    switch (t->dtype) {
    case FATTN_F64:
        return *(const double *)from;
    case FATTN_F32:
        return (double)*(const float *)from;
    case FATTN_F16:
        return (double)half_from_f16(*(const uint16_t *)from);
    case FATTN_BF16:
        return (double)half_from_bf16(*(const uint16_t *)from);
    case FATTN_I64:
        return (double)*(const int64_t *)from;
    case FATTN_I32:
        return *(const int32_t *)from;
    default:
        return *(const uint8_t *)from;
    }
}

static int64_t offset_of(const fattn_tensor *t, const int64_t *index)
{
    int64_t at = 0;
    for (int a = 0; a < t->rank; a++) {
        assert_true(index[a] >= 0 && index[a] < t->shape[a]);
        at += index[a] * t->strides[a];
    }
    return at;
}

double get(const fattn_tensor *t, const int64_t *index) { return load(t, offset_of(t, index)); }
void put(const fattn_tensor *t, const int64_t *index, double x)
{
    store(t, offset_of(t, index), x);
}

void get_run(const fattn_tensor *t, const int64_t *index, int n, double *into)
{
    const int64_t step = t->strides[t->rank - 1], at = offset_of(t, index);
    assert_true(n > 0 && index[t->rank - 1] + n <= t->shape[t->rank - 1]);
    for (int i = 0; i < n; i++) into[i] = load(t, at + i * step);
}

double get1(const fattn_tensor *t, int64_t a) { return get(t, (int64_t[]){a}); }
double get2(const fattn_tensor *t, int64_t a, int64_t b) { return get(t, (int64_t[]){a, b}); }
double get3(const fattn_tensor *t, int64_t a, int64_t b, int64_t c)
{
    return get(t, (int64_t[]){a, b, c});
}
double get4(const fattn_tensor *t, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return get(t, (int64_t[]){a, b, c, d});
}
void put1(const fattn_tensor *t, int64_t a, double x) { put(t, (int64_t[]){a}, x); }
void put2(const fattn_tensor *t, int64_t a, int64_t b, double x) { put(t, (int64_t[]){a, b}, x); }
void put3(const fattn_tensor *t, int64_t a, int64_t b, int64_t c, double x)
{
    put(t, (int64_t[]){a, b, c}, x);
}
void put4(const fattn_tensor *t, int64_t a, int64_t b, int64_t c, int64_t d, double x)
{
    put(t, (int64_t[]){a, b, c, d}, x);
}

int64_t tensor_count(const fattn_tensor *t)
{
    int64_t n = 1;
    for (int a = 0; a < t->rank; a++) n *= t->shape[a];
    return n;
}

size_t tensor_bytes(const fattn_tensor *t)
{
    return (size_t)tensor_count(t) * fattn_dtype_size(t->dtype);
}

static fattn_tensor *keep(fattn_tensor t, size_t elements)
{
    fattn_tensor *made = harness_alloc(sizeof *made);
    *made = t;
    made->data = harness_alloc(elements * fattn_dtype_size(t.dtype));
    return made;
}

static bool is_float(fattn_dtype dtype)
{
    return dtype == FATTN_F64 || dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

static fattn_tensor *random_tensor(fattn_dtype dtype, unsigned seed, int rank, const int64_t *shape)
{
    const fattn_tensor view = fattn_tensor_contiguous(NULL, dtype, rank, shape);
    fattn_tensor *t = keep(view, (size_t)tensor_count(&view));
    for (int64_t i = 0; is_float(dtype) && i < tensor_count(t); i++) {
        const uint32_t bits = hash(hash(seed * 2654435761u) + (uint32_t)i);
        store(t, i, (double)(bits >> 8) / (double)(1 << 23) - 1.0);
    }
    return t;
}

fattn_tensor *tensor_new(fattn_dtype dtype, unsigned seed, int rank, ...)
{
    int64_t shape[FATTN_MAX_RANK];
    va_list list;
    va_start(list, rank);
    for (int a = 0; a < rank; a++) shape[a] = va_arg(list, int);
    va_end(list);
    return random_tensor(dtype, seed, rank, shape);
}

fattn_tensor *tensor_like(const fattn_tensor *shape)
{
    const fattn_tensor view =
        fattn_tensor_contiguous(NULL, shape->dtype, shape->rank, shape->shape);
    fattn_tensor *t = keep(view, (size_t)tensor_count(&view));
    memset(t->data, 0xA5, tensor_bytes(t));
    return t;
}

fattn_tensor *tensor_spread(const fattn_tensor *t)
{
    fattn_tensor view = *t;
    int64_t room = 1;
    for (int a = t->rank - 1; a >= 0; a--) {
        view.strides[a] = room;
        room = view.strides[a] * (t->shape[a] > 0 ? t->shape[a] : 1) + 3;
    }
    fattn_tensor *made = keep(view, (size_t)room);
    int64_t index[FATTN_MAX_RANK] = {0};
    for (int64_t n = tensor_count(t); n > 0; n--) {
        put(made, index, get(t, index));
        for (int a = t->rank - 1; a >= 0 && ++index[a] == t->shape[a]; a--) index[a] = 0;
    }
    return made;
}

void fill(const fattn_tensor *t, double x)
{
    for (int64_t i = 0; i < tensor_count(t); i++) store(t, i, x);
}

void fill_mask(const fattn_tensor *t, unsigned seed, unsigned one_in)
{
    for (int64_t i = 0; i < tensor_count(t); i++)
        store(t, i, hash(hash(seed) + (uint32_t)i) % one_in == 0);
}

double at_layout(const fattn_tensor *t, const char *letters, int64_t head_dim, int64_t b, int64_t s,
                 int64_t n, int64_t d)
{
    int64_t index[FATTN_MAX_RANK];
    for (int a = 0; letters[a]; a++) {
        switch (letters[a]) {
        case 'B':
            index[a] = b;
            break;
        case 'S':
        case 'T':
            index[a] = s;
            break;
        case 'N':
            index[a] = n;
            break;
        case 'D':
            index[a] = d;
            break;
        default:
            index[a] = n * head_dim + d;
            break; /* H */
        }
    }
    return get(t, index);
}

/* Values depend on the meaning of an element and not on the layout. */
fattn_tensor *tensor_layout(fattn_dtype dtype, unsigned seed, const char *letters, int b, int s,
                            int n, int d)
{
    const int64_t shape4[] = {b, s, n, d};
    const fattn_tensor *logical = random_tensor(dtype, seed, 4, shape4);
    int64_t shape[FATTN_MAX_RANK];
    const int rank = (int)strlen(letters);
    for (int a = 0; a < rank; a++)
        shape[a] = letters[a] == 'B'                        ? b
                   : letters[a] == 'S' || letters[a] == 'T' ? s
                   : letters[a] == 'N'                      ? n
                   : letters[a] == 'D'                      ? d
                                                            : n * d;
    fattn_tensor *t = random_tensor(dtype, seed, rank, shape);
    for (int ib = 0; ib < b; ib++)
        for (int is = 0; is < s; is++)
            for (int in = 0; in < n; in++)
                for (int id = 0; id < d; id++) {
                    int64_t index[FATTN_MAX_RANK];
                    for (int a = 0; a < rank; a++)
                        index[a] = letters[a] == 'B'                        ? ib
                                   : letters[a] == 'S' || letters[a] == 'T' ? is
                                   : letters[a] == 'N'                      ? in
                                   : letters[a] == 'D'                      ? id
                                                                            : in * d + id;
                    put(t, index, get4(logical, ib, is, in, id));
                }
    return t;
}

fattn_int_array list_of(int count, ...)
{
    int64_t *data = harness_alloc((size_t)count * sizeof *data);
    va_list list;
    va_start(list, count);
    for (int i = 0; i < count; i++) data[i] = va_arg(list, int);
    va_end(list);
    return (fattn_int_array){data, count};
}

bool sampled(int64_t at, int64_t total)
{
    return at == 0 || at == total - 1 || hash((uint32_t)at) % (uint64_t)total < 64;
}

/* ---- contexts
 * ------------------------------------------------------------------------------------ */

static void record(void *self, const char *place, const char *sentence)
{
    (void)self;
    if (n_spoken == MOST_WARNINGS) return;
    snprintf(spoken[n_spoken].place, sizeof spoken[n_spoken].place, "%s", place ? place : "(null)");
    snprintf(spoken[n_spoken].text, sizeof spoken[n_spoken].text, "%s", sentence);
    n_spoken++;
}

static fattn_context *context_of(int strict)
{
    static fattn_context *made[2];
    if (made[strict]) return made[strict];
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.strict = strict;
    options.threads = 2;
    options.warn = record;
    assert_int_equal(fattn_context_create(&made[strict], &options), FATTN_OK);
    return made[strict];
}

fattn_context *plain_context(void) { return context_of(0); }
fattn_context *strict_context(void) { return context_of(1); }
int warnings(void) { return n_spoken; }

const char *warning_text(const char *place)
{
    for (int i = 0; i < n_spoken; i++)
        if (strcmp(spoken[i].place, place) == 0) return spoken[i].text;
    return NULL;
}

bool warned_of(const char *place) { return warning_text(place) != NULL; }

/* ---- expectations
 * -------------------------------------------------------------------------------- */

void expect_refused(fattn_status status, fattn_status wanted, const char *argument,
                    const char *what)
{
    const char *sentence = fattn_error_message();
    if (status != wanted)
        fail_msg("%s: status %s instead of %s (%s)", what, fattn_status_name(status),
                 fattn_status_name(wanted), status == FATTN_OK ? "accepted" : sentence);
    const char *found = strstr(sentence, argument);
    if (!found) fail_msg("%s: the sentence does not name %s: %s", what, argument, sentence);
    if (strpbrk(sentence, "0123456789") == NULL && strlen(sentence) < 20)
        fail_msg("%s: the sentence says nothing: %s", what, sentence);
}

void call_v1(fattn_fused_infer_attention_score_args *a, const char *what)
{
    fattn_tensor shapes[2];
    EXPECT_OK(fattn_fused_infer_attention_score_shapes(plain_context(), a, shapes), "%s", what);
    a->attention_out = tensor_like(&shapes[0]), a->softmax_lse = tensor_like(&shapes[1]);
    EXPECT_OK(fattn_fused_infer_attention_score(plain_context(), a), "%s", what);
}

void call_v2(fattn_fused_infer_attention_score_v2_args *a, const char *what)
{
    fattn_tensor shapes[2];
    EXPECT_OK(fattn_fused_infer_attention_score_v2_shapes(plain_context(), a, shapes), "%s", what);
    a->attention_out = tensor_like(&shapes[0]), a->softmax_lse = tensor_like(&shapes[1]);
    EXPECT_OK(fattn_fused_infer_attention_score_v2(plain_context(), a), "%s", what);
}

/* ---- one row
 * ------------------------------------------------------------------------------------- */

static const double UNIT = 0x1p-24;

void naive_finish(naive_row *row, double (*value)(const void *self, int key, int column),
                  const void *self)
{
    static double p[MOST_KEYS];
    double key_max = -INFINITY, key_sum = 0, most_sigma = 0, mean_sigma = 0;
    for (int j = 0; j < row->keys; j++) key_max = fmax(key_max, row->x[j]);
    row->max = fmax(key_max, row->sink);
    for (int j = 0; j < row->keys; j++) key_sum += exp(row->x[j] - row->max);
    row->sum = key_sum + (isinf(row->sink) ? 0 : exp(row->sink - row->max));
    row->lse = row->max + log(key_sum);
    for (int j = 0; j < row->keys; j++) {
        p[j] = exp(row->x[j] - row->max) / row->sum;
        most_sigma = fmax(most_sigma, row->sigma[j]);
        mean_sigma += p[j] * row->sigma[j];
    }
    row->stats_bound =
        0x1p-19 * fmax(1, fabs(row->max)) + UNIT * (row->d + 2) * (most_sigma + mean_sigma);
    for (int c = 0; c < row->columns; c++) {
        double o = 0, spread = 0, absolute = 0;
        for (int j = 0; j < row->keys; j++) o += p[j] * value(self, row->key[j], c);
        for (int j = 0; j < row->keys; j++) {
            const double v = value(self, row->key[j], c);
            absolute += p[j] * fabs(v);
            spread += p[j] * fabs(v - o) *
                      ((row->d + 2) * row->sigma[j] + fabs(row->x[j] - row->max) + 2);
        }
        row->out[c] = o;
        row->bound[c] = UNIT * (spread + (row->keys + 2) * (absolute + fabs(o)));
        if (!isinf(row->sink)) /* the sink's share moves every column alike */
            row->bound[c] +=
                UNIT * fabs(o) * (fabs(row->sink - row->max) + 2 * fabs(row->sink) + 2);
    }
}

static double ulp(fattn_dtype dtype, double x)
{
    const int bits = dtype == FATTN_F64   ? 53
                     : dtype == FATTN_F32 ? 24
                     : dtype == FATTN_F16 ? 11
                                          : 8;
    int exponent = -13;
    if (x != 0) frexp(x, &exponent);
    if (dtype == FATTN_F16 && exponent < -13) exponent = -13;
    return ldexp(1.0, exponent - bits);
}

double allowed_out(fattn_dtype dtype, double want, double bound)
{
    const double share = dtype == FATTN_F16 || dtype == FATTN_BF16 ? 1.0 : 0.5;
    return share * ulp(dtype, want) + 2 * bound;
}

bool close_out(fattn_dtype dtype, double got, double want, double bound)
{
    return fabs(got - want) <= allowed_out(dtype, want, bound);
}

bool close_stat(double got, double want, double bound)
{
    return got == want || fabs(got - want) <= bound;
}
