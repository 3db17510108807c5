/* SPDX-License-Identifier: Apache-2.0 */
/* torchzip.c — files of torch.save(): what is in them comes out, views included; nothing else is
 * believed. */
#include "torch_case.h"

#include "io/element.h"
#include "io/pickle.h"
#include "io/torchzip.h"

enum { FLOATS = 24 };
static float numbers[FLOATS];

static int enter(void **state)
{
    (void)state;
    for (int i = 0; i < FLOATS; i++) numbers[i] = (float)i;
    return 0;
}

static const char *file(void) { return scratch(".pt"); }

static const char *where(const char *name)
{
    static char text[512];
    snprintf(text, sizeof text, "%s:%s", file(), name);
    return text;
}

static const made_tensor whole = {"FloatStorage", "0", FLOATS, 0, 3, {2, 3, 4}, {12, 4, 1}};

static void write_floats(const pickle_text *p)
{
    write_torch(file(), p, numbers, sizeof numbers, "little", ZIP_CM_STORE);
}

static io_tensor read_good(const char *path, fattn_dtype as)
{
    io_tensor t;
    io_error error;
    if (io_tensor_read(path, as, &t, &error) != IO_OK) fail_msg("%s", error.message);
    return t;
}

/* Refused with this code, in these words, and without memory. */
static void expect_refused(const char *path, io_code code, const char *says)
{
    io_tensor t;
    io_error error = {.message = ""};
    const io_code got = io_tensor_read(path, FATTN_DTYPE_NONE, &t, &error);
    if (got != code || error.code != code || !strstr(error.message, says))
        fail_msg("code %d instead of %d, or does not say '%s': %s", got, code, says, error.message);
    assert_null(t.memory);
}

static void a_bare_tensor(void **state)
{
    (void)state;
    pickle_text p;
    put_begin(&p);
    put_tensor(&p, whole);
    put_op(&p, '.');
    write_floats(&p);
    io_tensor t = read_good(file(), FATTN_DTYPE_NONE);
    assert_int_equal(t.t.dtype, FATTN_F32);
    assert_int_equal(t.t.rank, 3);
    assert_int_equal(t.t.shape[2], 4);
    assert_memory_equal(t.t.data, numbers, sizeof numbers);
    io_tensor_free(&t);
    t = read_good(file(), FATTN_F16);
    assert_int_equal(t.t.dtype, FATTN_F16);
    assert_true(io_get(t.t.data, FATTN_F16, 23) == 23);
    io_tensor_free(&t);
    expect_refused(where("q"), IO_E_NAME, "holds one tensor without a name, not 'q'");
    unlink(file());
}

/* A transposed slice behind an offset, and one row repeated by a stride of 0. */
static void views_of_a_storage(void **state)
{
    (void)state;
    static const made_tensor views[] = {
        {"FloatStorage", "0", FLOATS, 5, 2, {4, 2}, {1, 12}},
        {"FloatStorage", "0", FLOATS, 20, 2, {3, 4}, {0, 1}},
        {"FloatStorage", "0", FLOATS, 23, 0, {0}, {0}},
    };
    static const double third[] = {17, 20, 0}; /* element (0,1), (0,0), scalar below */
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        pickle_text p;
        put_begin(&p);
        put_tensor(&p, views[i]);
        put_op(&p, '.');
        write_floats(&p);
        for (int as = 0; as < 2; as++) {
            io_tensor t = read_good(file(), as ? FATTN_BF16 : FATTN_DTYPE_NONE);
            assert_int_equal(t.t.rank, views[i].rank);
            for (int k = 0; k < views[i].rank; k++) {
                assert_int_equal(t.t.shape[k], views[i].shape[k]);
                assert_int_equal(t.t.strides[k], views[i].strides[k]);
            }
            const double got = io_get(t.t.data, t.t.dtype, i == 0 ? io_offset(&t.t, 1) : 0);
            assert_true(got == (i == 2 ? 23 : third[i]));
            io_tensor_free(&t);
        }
    }
    unlink(file());
}

static void every_dtype(void **state)
{
    (void)state;
    static const struct {
        const char *class;
        fattn_dtype dtype;
        int64_t elements; /* in 96 bytes */
    } cases[] = {
        {"DoubleStorage", FATTN_F64, 12}, {"FloatStorage", FATTN_F32, 24},
        {"HalfStorage", FATTN_F16, 48},   {"BFloat16Storage", FATTN_BF16, 48},
        {"LongStorage", FATTN_I64, 12},   {"IntStorage", FATTN_I32, 24},
        {"CharStorage", FATTN_I8, 96},    {"ByteStorage", FATTN_U8, 96},
        {"BoolStorage", FATTN_BOOL, 96},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pickle_text p;
        put_begin(&p);
        put_tensor(&p, (made_tensor){
                           cases[i].class, "0", cases[i].elements, 0, 1, {cases[i].elements}, {1}});
        put_op(&p, '.');
        write_floats(&p);
        io_tensor t = read_good(file(), FATTN_DTYPE_NONE);
        assert_int_equal(t.t.dtype, cases[i].dtype);
        assert_memory_equal(t.t.data, numbers, sizeof numbers);
        io_tensor_free(&t);
    }
    pickle_text p;
    put_begin(&p);
    put_tensor(&p, (made_tensor){"ShortStorage", "0", 48, 0, 1, {48}, {1}});
    put_op(&p, '.');
    write_floats(&p);
    expect_refused(file(), IO_E_DTYPE, "int16");
    io_tensor t = read_good(file(), FATTN_BF16);
    assert_int_equal(t.t.dtype, FATTN_BF16);
    io_tensor_free(&t);
    unlink(file());
}

/* fp8: raw bytes, and the dtype as an argument. */
static void float8_in_raw_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"float8_e4m3fn", "float8_e5m2", "float7"};
    for (int i = 0; i < 3; i++) {
        pickle_text p;
        put_begin(&p);
        put_global(&p, "torch._utils", "_rebuild_tensor_v3");
        put_op(&p, '(');
        put_storage(&p, "torch.storage", "UntypedStorage", "0", sizeof numbers);
        put_int(&p, 2);
        put_extents(&p, 1, (const int64_t[]){90});
        put_extents(&p, 1, (const int64_t[]){1});
        put_op(&p, 0x89);
        put_global(&p, "collections", "OrderedDict");
        put_bytes(&p, ")R", 2);
        put_global(&p, "torch", names[i]);
        put_bytes(&p, "tR.", 3);
        write_floats(&p);
        if (i == 2) {
            expect_refused(file(), IO_E_FORMAT, "pickle names torch.float7; only tensors are read");
            break;
        }
        io_tensor t = read_good(file(), FATTN_DTYPE_NONE);
        assert_int_equal(t.t.dtype, i == 0 ? FATTN_E4M3 : FATTN_E5M2);
        assert_memory_equal(t.t.data, (const char *)numbers + 2, 90);
        io_tensor_free(&t);
    }
    unlink(file());
}

/* {'q': t, 'layer.0.k': t[1], 'l': [t, (t,)], 3: t, 'scale': 0.5, 'name': 'x', 'none': None}, with
 * memo */
static void put_dict(pickle_text *p)
{
    put_begin(p);
    put_bytes(p, "}q\0(", 4);
    put_name(p, "q");
    put_tensor(p, whole);
    put_bytes(p, "q\1", 2);
    put_name(p, "layer.0.k");
    put_tensor(p, (made_tensor){"FloatStorage", "0", FLOATS, 12, 2, {3, 4}, {4, 1}});
    put_name(p, "l");
    put_bytes(p,
              "](h\1h\1\x85"
              "e",
              8);
    put_bytes(p, "K\3h\1", 4);
    put_name(p, "scale");
    put_bytes(p, "G\x3f\xe0\0\0\0\0\0\0", 9);
    put_name(p, "name");
    put_name(p, "x");
    put_name(p, "none");
    put_bytes(p, "Nu.", 3);
}

static void names_in_containers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double first;
    } good[] = {{"q", 0}, {"layer.0.k", 12}, {"l.0", 0}, {"l.1.0", 0}, {"3", 0}};
    pickle_text p;
    p.n = 0;
    put_dict(&p);
    write_floats(&p);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        io_tensor t = read_good(where(good[i].name), FATTN_DTYPE_NONE);
        assert_true(io_get(t.t.data, t.t.dtype, 0) == good[i].first);
        io_tensor_free(&t);
    }
    static const char *const bad[] = {"l",    "l.2",   "l.1.1",   "scale", "name",
                                      "none", "layer", "layer.0", "q.0",   ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refused(where(bad[i]), IO_E_NAME, "holds no tensor '");
    expect_refused(where("x"), IO_E_NAME, "(it holds q, layer.0.k, l.0, l.1.0, 3)");
    expect_refused(file(), IO_E_NAME, "say which tensor");
    unlink(file());
}

/* A state_dict: an OrderedDict whose attribute _metadata is set; parameters. */
static void a_state_dict(void **state)
{
    (void)state;
    pickle_text p;
    put_begin(&p);
    put_global(&p, "collections", "OrderedDict");
    put_bytes(&p, ")R(", 3);
    put_name(&p, "weight");
    put_global(&p, "torch._utils", "_rebuild_parameter");
    put_tensor(&p, whole);
    put_op(&p, 0x88);
    put_global(&p, "collections", "OrderedDict");
    put_bytes(&p, ")R\x87R", 4);
    put_name(&p, "bias");
    put_tensor(&p, whole);
    put_bytes(&p, "u}", 2);
    put_name(&p, "_metadata");
    put_bytes(&p, "}sb.", 4);
    write_floats(&p);
    io_tensor t = read_good(where("weight"), FATTN_DTYPE_NONE);
    assert_int_equal(t.t.rank, 3);
    io_tensor_free(&t);
    t = read_good(where("bias"), FATTN_DTYPE_NONE);
    io_tensor_free(&t);
    unlink(file());
}

/* Tensors of a device, saved through torch_npu. */
static void a_device_tensor(void **state)
{
    (void)state;
    pickle_text p;
    put_begin(&p);
    put_global(&p, "torch_npu.utils.storage", "_rebuild_npu_tensor");
    put_op(&p, '(');
    put_storage(&p, "torch", "HalfStorage", "0", 48);
    put_bytes(&p, "K\0", 2);
    put_extents(&p, 1, (const int64_t[]){48});
    put_extents(&p, 1, (const int64_t[]){1});
    put_op(&p, 0x89);
    put_global(&p, "collections", "OrderedDict");
    put_bytes(&p, ")R\x88tR.", 6);
    write_floats(&p);
    io_tensor t = read_good(file(), FATTN_DTYPE_NONE);
    assert_int_equal(t.t.dtype, FATTN_F16);
    io_tensor_free(&t);
    unlink(file());
}

/* The last arguments of the call that makes a tensor: None and an empty dict say nothing; a
 * negation or conjugation bit says that the storage holds other values than the tensor, and is
 * refused. */
static void bits_that_change_values(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *says; /* says NULL: read */
        size_t n;
    } cases[] = {
        {"N", NULL, 1},
        {"}", NULL, 1},
        {"}X\3\0\0\0neg\x88s", "(neg)", 11},
        {"}X\4\0\0\0conj\x88s", "(conj)", 12},
        {"\x88", "(no dict)", 1},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const size_t c = i / 2;
        const bool v3 = i % 2;
        pickle_text p;
        put_begin(&p);
        put_global(&p, "torch._utils", v3 ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
        put_op(&p, '(');
        put_storage(&p, v3 ? "torch.storage" : "torch", v3 ? "UntypedStorage" : "FloatStorage", "0",
                    v3 ? sizeof numbers : FLOATS);
        put_int(&p, 0);
        put_extents(&p, 1, (const int64_t[]){4});
        put_extents(&p, 1, (const int64_t[]){1});
        put_op(&p, 0x89);
        put_global(&p, "collections", "OrderedDict");
        put_bytes(&p, ")R", 2);
        if (v3) put_global(&p, "torch", "float32");
        put_bytes(&p, cases[c].metadata, cases[c].n);
        put_bytes(&p, "tR.", 3);
        write_floats(&p);
        if (cases[c].says) {
            expect_refused(file(), IO_E_FORMAT, cases[c].says);
            expect_refused(file(), IO_E_FORMAT, "save x.resolve_neg().resolve_conj()");
            continue;
        }
        io_tensor t = read_good(file(), FATTN_DTYPE_NONE);
        assert_memory_equal(t.t.data, numbers, 4 * sizeof numbers[0]);
        io_tensor_free(&t);
    }
    unlink(file());
}

/* What stands beside a tensor in many files and says nothing about it: dtypes, devices, sizes,
 * sets, bytes, long numbers, numpy's scalars; bytes as Python 3.11 and torch 2 write them. None of
 * it can be asked for. */
static void harmless_values(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
#define CASE(text) {text, sizeof text - 1}
        CASE("ctorch\nfloat16\n"),
        CASE("ctorch\ncomplex64\n"),
        CASE("ctorch\ndevice\nX\3\0\0\0cpu\x85R"),
        CASE("ctorch\nSize\n(K\1K\4K\10K@t\x85R"),
        CASE("c__builtin__\nset\n](K\1K\2e\x85R"),
        CASE("c_codecs\nencode\nX\3\0\0\0abcX\6\0\0\0latin1\x86R"),
        CASE("c__builtin__\nbytes\n)R"),
        CASE("\x8a\11\0\0\0\0\0\0\0\0@"),       /* 2 ** 70 */
        CASE("\x8b\11\0\0\0\0\0\0\0\0\0\0\0@"), /* the same with a longer length */
        CASE("cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\2\0\0\0f4\x89\x88\x87R"
             "(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
             "c_codecs\nencode\nX\4\0\0\0abcdX\6\0\0\0latin1\x86R\x86R"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pickle_text p;
        put_begin(&p);
        put_bytes(&p, "}(", 2);
        put_name(&p, "x");
        put_bytes(&p, cases[i].bytes, cases[i].n);
        put_name(&p, "o");
        put_tensor(&p, whole);
        put_bytes(&p, "u.", 2);
        write_floats(&p);
        io_tensor t;
        io_error error = {.message = ""};
        if (io_tensor_read(where("o"), FATTN_DTYPE_NONE, &t, &error) != IO_OK)
            fail_msg("case %zu: %s", i, error.message);
        assert_memory_equal(t.t.data, numbers, sizeof numbers);
        io_tensor_free(&t);
        expect_refused(where("x"), IO_E_NAME, "(it holds o)");
    }
    unlink(file());
}

/* ---- malice ---- */

static void programs_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
#define CASE(text, words) {text, sizeof text - 1, words}
        CASE("\x80\2cos\nsystem\nX\2\0\0\0ls\x85R.",
             "pickle names os.system; only tensors are read"),
        CASE("\x80\2c__builtin__\neval\nX\1\0\0\0001\x85R.", "__builtin__.eval"),
        CASE("\x80\2cbuiltins\nexec\n.", "builtins.exec"),
        CASE("\x80\2ctorch\nload\n.", "torch.load"),
        CASE("\x80\2ctorch.jit._pickle\nbuild_intlist\n.", "torch.jit._pickle.build_intlist"),
        CASE("\x80\2ccollections\nOrderedDict\n(K\1tR.", "made of something"),
        CASE("\x80\2ctorch\nFloatStorage\n)R.", "torch.FloatStorage"),
        CASE("\x80\2X\1\0\0\0x)R.", "no function"),
        CASE("\x80\2(ios\nsystem\n.", "0x69"), /* INST */
        CASE("\x80\2(cos\nsystem\no.", "os.system"),
        CASE("\x80\2}K\1b.", "|"), /* a dict's attributes are ignored */
        CASE("\x80\2]K\1b.", "__setstate__"),
        CASE("\x80\2P1\n.", "0x50"),   /* PERSID */
        CASE("\x80\2\x82\1.", "0x82"), /* EXT1 */
        CASE("\x80\2\x81.", "0x81"),   /* NEWOBJ */
        CASE("\x80\4\x95\0\0\0\0\0\0\0\0.", "protocol 4"),
        CASE("\x80\2X\xff\xff\xff\xff"
             "a.",
             "longer than the pickle"),
        CASE("\x80\2\x8a\xff"
             "a.",
             "ends too early"),
        CASE("\x80\2\x8b\xff\xff\xff\xff"
             "a.",
             "ends too early"),
        CASE("\x80\2ctorch\nfloat16\n)R.", "wants to call torch.float16"),
        CASE("\x80\2ctorch\nfloat16\nK\1b.", "__setstate__"),
        CASE("\x80\2Kr\xff\xff\xff\x7f.", ""),
        CASE("\x80\2K\1r\xff\xff\xff\x7f.", "memo has gaps"),
        CASE("\x80\2h\0.", "no such entry"),
        CASE("\x80\2t.", "mark is missing"),
        CASE("\x80\2\x87.", "more than there is"),
        CASE("\x80\2R.", "more than there is"),
        CASE("\x80\2a.", "more than there is"),
        CASE("\x80\2(K\1K\2e.", "no list"),
        CASE("\x80\2}(K\1u.", "no value"),
        CASE("\x80\2}(]K\1u.", "neither text nor number"),
        CASE("\x80\2K\1Q.", "persistent id"),
        CASE("\x80\2K\1K\2.", "more than one value"),
        CASE("\x80\2.", "more than one value"),
        CASE("\x80\2}", "ends too early"),
        CASE("\x80\2cos", "ends too early"),
        CASE("\x80\2c\x1b[2J\nx\n.", "?[2J.x"),
        CASE("", "ends too early"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pickle_text p = {.n = 0};
        put_bytes(&p, cases[i].bytes, cases[i].n);
        write_floats(&p);
        io_tensor t;
        io_error error = {.message = ""};
        const io_code code = io_tensor_read(file(), FATTN_DTYPE_NONE, &t, &error);
        const bool ignored = strchr(cases[i].says, '|') != NULL;
        if (ignored ? code != IO_E_NAME
                    : (code != IO_E_FORMAT || !strstr(error.message, cases[i].says)))
            fail_msg("case %zu: code %d: %s", i, code, error.message);
        assert_null(t.memory);
    }
    unlink(file());
}

static void wrong_tensors_are_refused(void **state)
{
    (void)state;
    const int64_t huge = (int64_t)1 << 62;
    const struct {
        made_tensor t;
        const char *says;
    } cases[] = {
        {{"FloatStorage", "0", FLOATS, 0, 3, {2, 3, 5}, {12, 4, 1}}, "outside its storage"},
        {{"FloatStorage", "0", FLOATS, 1, 3, {2, 3, 4}, {12, 4, 1}}, "outside its storage"},
        {{"FloatStorage", "0", FLOATS, 0, 2, {2, 4}, {huge, 1}}, "outside its storage"},
        {{"FloatStorage", "0", FLOATS, 0, 2, {3, 4}, {huge, 1}}, "outside its storage"},
        {{"FloatStorage", "0", FLOATS, INT64_MAX, 1, {2}, {1}}, "outside its storage"},
        {{"FloatStorage", "0", FLOATS, -1, 1, {2}, {1}}, "begins before"},
        {{"FloatStorage", "0", FLOATS, 0, 1, {-2}, {1}}, "negative"},
        {{"FloatStorage", "0", FLOATS, 4, 1, {2}, {-1}}, "negative"},
        {{"FloatStorage", "0", FLOATS, 0, 2, {huge, huge}, {0, 0}}, "more elements than memory"},
        {{"FloatStorage",
          "0",
          FLOATS,
          0,
          9,
          {1, 1, 1, 1, 1, 1, 1, 1, 1},
          {1, 1, 1, 1, 1, 1, 1, 1, 1}},
         "more than 8 axes"},
        {{"FloatStorage", "0", -1, 0, 1, {2}, {1}}, "negative size"},
        {{"FloatStorage", "0", FLOATS + 1, 0, 1, {2}, {1}}, "shorter than its tensors"},
        {{"FloatStorage", "0", huge, 0, 1, {2}, {1}}, "shorter than its tensors"},
        {{"FloatStorage", "1", FLOATS, 0, 1, {2}, {1}}, "missing"},
        {{"FloatStorage", "../data.pkl", FLOATS, 0, 1, {2}, {1}}, "no name"},
        {{"FloatStorage", "", FLOATS, 0, 1, {2}, {1}}, "no name"},
        {{"ComplexFloatStorage", "0", 12, 0, 1, {2}, {1}}, "torch.ComplexFloatStorage"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pickle_text p;
        put_begin(&p);
        put_tensor(&p, cases[i].t);
        put_op(&p, '.');
        write_floats(&p);
        expect_refused(file(), IO_E_FORMAT, cases[i].says);
    }
    unlink(file());
}

static void write_pickle(const void *bytes, size_t n)
{
    int why;
    zip_t *zip = zip_open(file(), ZIP_CREATE | ZIP_TRUNCATE, &why);
    assert_non_null(zip);
    add_entry(zip, "a/data.pkl", bytes, n, ZIP_CM_STORE);
    assert_int_equal(zip_close(zip), 0);
}

/* No file makes the reader take much more memory than it has bytes: a pickle is short, and so are
 * its values. */
static void pickles_without_end(void **state)
{
    (void)state;
    const size_t n = (2 << 20) + 1;
    unsigned char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, '(', n);
    memcpy(bytes, "\x80\2", 2);
    write_pickle(bytes, n);
    expect_refused(file(), IO_E_FORMAT, "more than 2097152 bytes");
    write_pickle(bytes, n - 1);
    expect_refused(file(), IO_E_FORMAT, "more than 1048576 values");
    free(bytes);
    unlink(file());
}

/* A list in itself, lists of lists of one list, tuples a million deep. */
static void knots_and_bombs(void **state)
{
    (void)state;
    pickle_text p;
    put_begin(&p);
    put_bytes(&p, "]q\0h\0a.", 7);
    write_floats(&p);
    expect_refused(where("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"), IO_E_NAME, "no tensor");
    expect_refused(file(), IO_E_NAME, "no tensor");

    put_begin(&p);
    put_bytes(&p, "]q\0", 3);
    for (int i = 0; i < 40; i++) {
        put_op(&p, ']');
        put_op(&p, '(');
        for (int k = 0; k < 50; k++) put_op(&p, 'h'), put_op(&p, i);
        put_op(&p, 'e');
        put_op(&p, 0x86); /* with the one below */
        put_op(&p, 'q');
        put_op(&p, i + 1);
    }
    put_op(&p, '.');
    write_floats(&p);
    expect_refused(where("0.0.0.0.0.0.0.0"), IO_E_NAME, "no tensor");
    expect_refused(file(), IO_E_NAME, "no tensor");

    unsigned char *deep = malloc(1 << 20);
    assert_non_null(deep);
    memset(deep, 0x85, 1 << 20);
    memcpy(deep, "\x80\2N", 3);
    deep[(1 << 20) - 1] = '.';
    write_pickle(deep, 1 << 20);
    free(deep);
    expect_refused(file(), IO_E_NAME, "no tensor");
    expect_refused(where("0.0.0"), IO_E_NAME, "no tensor");
    unlink(file());
}

static void wrong_archives_are_refused(void **state)
{
    (void)state;
    pickle_text p;
    put_begin(&p);
    put_tensor(&p, whole);
    put_op(&p, '.');
    write_torch(file(), &p, numbers, sizeof numbers, "big", ZIP_CM_STORE);
    expect_refused(file(), IO_E_FORMAT, "big-endian");
    write_torch(file(), &p, numbers, sizeof numbers, "", ZIP_CM_STORE);
    io_tensor t = read_good(file(), FATTN_DTYPE_NONE); /* old files do not say */
    io_tensor_free(&t);
    const char zeros[4096] = {0};
    write_torch(file(), &p, zeros, sizeof zeros, "little", ZIP_CM_DEFLATE);
    expect_refused(file(), IO_E_FORMAT, "compressed");
    write_torch(file(), &p, NULL, 0, "little", ZIP_CM_STORE);
    expect_refused(file(), IO_E_FORMAT, "a storage is missing");

    int why;
    zip_t *zip = zip_open(file(), ZIP_CREATE | ZIP_TRUNCATE, &why);
    add_entry(zip, "a/b/data.pkl", p.bytes, p.n, ZIP_CM_STORE);
    assert_int_equal(zip_close(zip), 0);
    expect_refused(file(), IO_E_FORMAT, "no data.pkl");
    spill(file(),
          "\x80\x02\x8a\nl\xfc\x9c"
          "F\xf9 j\xa8P",
          14); /* how torch 1.5 begins */
    expect_refused(file(), IO_E_FORMAT, "load and save it again");
    unlink(file());
    expect_refused(file(), IO_E_FILE, "cannot be opened");

    write_floats(&p);
    size_t n;
    unsigned char *bytes = slurp(file(), &n);
    for (size_t cut = 0; cut < n; cut++) {
        spill(file(), bytes, cut);
        expect_refused(file(), IO_E_FORMAT, "");
    }
    for (size_t at = 0; at < n; at++) { /* no byte of the data can change unseen */
        if (memcmp(bytes + at, &numbers[5], sizeof numbers[5]) != 0) continue;
        bytes[at] ^= 1;
        spill(file(), bytes, n);
        expect_refused(file(), IO_E_FORMAT, "sum is wrong");
        break;
    }
    free(bytes);
    unlink(file());
}

/* .pth as .pt; a .bin that is no zip is what it was: a .npy file under another name. */
static void endings(void **state)
{
    (void)state;
    pickle_text p;
    char path[300];
    put_begin(&p);
    put_tensor(&p, whole);
    put_op(&p, '.');
    static const char *const names[] = {".pth", ".bin"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s", scratch(names[i]));
        write_torch(path, &p, numbers, sizeof numbers, "little", ZIP_CM_STORE);
        io_tensor t = read_good(path, FATTN_DTYPE_NONE);
        io_tensor_free(&t);
        unlink(path);
    }
    spill(path, "nothing", 7);
    expect_refused(path, IO_E_FORMAT, ".npy");
    unlink(path);
}

/* Damaged pickles: refused with a sentence, or a tensor that lies inside its storage. */
static void damaged_pickles(void **state)
{
    (void)state;
    enum { ROUNDS = 30000 };
    uint64_t seed = 7;
    int accepted = 0;
    pickle_text good;
    put_dict(&good);
    for (int round = 0; round < ROUNDS; round++) {
        pickle_text p = good;
        for (uint32_t hits = 1 + next_random(&seed) % 3; hits > 0; hits--)
            p.bytes[next_random(&seed) % p.n] = (unsigned char)next_random(&seed);
        unsigned char *exact = malloc(p.n); /* valgrind and sanitizers see where it ends */
        assert_non_null(exact);
        memcpy(exact, p.bytes, p.n);
        pickle_tensor t;
        io_error error = {.code = IO_OK, .message = ""};
        const io_code code = pickle_read(exact, p.n, "x", "layer.0.k", &t, &error);
        free(exact);
        if (code != IO_OK) {
            assert_int_equal(code, error.code);
            assert_true(strlen(error.message) > 10);
            continue;
        }
        int64_t count, last = t.offset;
        assert_true(io_count(t.rank, t.shape, &count));
        for (int i = 0; i < t.rank && count > 0; i++) last += (t.shape[i] - 1) * t.strides[i];
        if (count > 0 && !(t.offset >= 0 && last < t.elements))
            fail_msg("round %d: element %lld of %lld", round, (long long)last,
                     (long long)t.elements);
        accepted++;
    }
    if (accepted < ROUNDS / 100 || accepted > ROUNDS / 2) fail_msg("%d accepted", accepted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_tensor),
        cmocka_unit_test(views_of_a_storage),
        cmocka_unit_test(every_dtype),
        cmocka_unit_test(float8_in_raw_bytes),
        cmocka_unit_test(names_in_containers),
        cmocka_unit_test(a_state_dict),
        cmocka_unit_test(a_device_tensor),
        cmocka_unit_test(bits_that_change_values),
        cmocka_unit_test(harmless_values),
        cmocka_unit_test(programs_are_refused),
        cmocka_unit_test(pickles_without_end),
        cmocka_unit_test(wrong_tensors_are_refused),
        cmocka_unit_test(knots_and_bombs),
        cmocka_unit_test(wrong_archives_are_refused),
        cmocka_unit_test(endings),
        cmocka_unit_test(damaged_pickles),
    };
    return cmocka_run_group_tests_name("torchzip", tests, enter, NULL);
}
