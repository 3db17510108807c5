/* SPDX-License-Identifier: Apache-2.0 */
/* npy.c — .npy files: what we write is what NumPy's format says, what we read survives any damage.
 */
#include "io_case.h"

#include "io/element.h"
#include "io/npy.h"

#include <math.h>

/* A file in memory: header text in the given version, then `n` bytes of data, exactly as large as
 * that (so that a sanitizer sees one byte too far). */
static void *make(int version, const char *dictionary, const void *data, size_t n, size_t *whole)
{
    const size_t length = strlen(dictionary), begin = version == 1 ? 10 : 12;
    unsigned char *bytes = malloc(begin + length + n);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)version;
    bytes[7] = 0;
    memset(bytes + 8, 0, begin - 8);
    bytes[8] = (unsigned char)(length & 255);
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + begin, dictionary, length);
    if (n) memcpy(bytes + begin + length, data, n);
    *whole = begin + length + n;
    return bytes;
}

static io_code parse(int version, const char *dictionary, const void *data, size_t n,
                     fattn_dtype as, io_tensor *tensor, io_error *error)
{
    size_t whole;
    void *bytes = make(version, dictionary, data, n, &whole);
    return npy_parse(bytes, whole, as, tensor, error);
}

/* The bytes that numpy.save() writes for np.arange(6, dtype='<f4').reshape(2, 3). */
static void written_as_numpy_writes(void **state)
{
    (void)state;
    float data[6] = {0, 1, 2, 3, 4, 5};
    io_error error;
    size_t n;
    const fattn_tensor t = io_contiguous(data, FATTN_F32, 2, (const int64_t[]){2, 3});
    assert_int_equal(npy_write(scratch(".npy"), &t, &error), IO_OK);
    unsigned char *bytes = slurp(scratch(".npy"), &n);
    char expected[128];
    memset(expected, ' ', sizeof expected);
    memcpy(expected, "\x93NUMPY\x01\x00v\x00", 10);
    static const char dictionary[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    memcpy(expected + 10, dictionary, sizeof dictionary - 1);
    expected[127] = '\n';
    assert_int_equal(n, 128 + sizeof data);
    assert_memory_equal(bytes, expected, 128);
    assert_memory_equal(bytes + 128, data, sizeof data);
    free(bytes);
    unlink(scratch(".npy"));
}

/* Every dtype, ranks 0 to 8, empty tensors. bf16 and fp8 come back when they are asked for. */
static void round_trip(void **state)
{
    (void)state;
    static const struct {
        int rank;
        int64_t shape[8];
    } shapes[] = {{0, {0}},    {1, {5}},       {1, {0}},
                  {2, {3, 4}}, {3, {2, 0, 3}}, {8, {1, 2, 1, 2, 1, 2, 1, 2}}};
    for (int dtype = 1; dtype < FATTN_DTYPE_COUNT; dtype++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            unsigned char data[16 * 8];
            for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 7 + 1);
            const fattn_tensor t =
                io_contiguous(data, (fattn_dtype)dtype, shapes[s].rank, shapes[s].shape);
            io_error error;
            io_tensor back;
            int64_t count;
            assert_int_equal(npy_write(scratch(".npy"), &t, &error), IO_OK);
            if (npy_read(scratch(".npy"), (fattn_dtype)dtype, &back, &error) != IO_OK)
                fail_msg("%s: %s", fattn_dtype_name((fattn_dtype)dtype), error.message);
            io_count(t.rank, t.shape, &count);
            assert_int_equal(back.t.dtype, dtype);
            assert_int_equal(back.t.rank, t.rank);
            assert_memory_equal(back.t.shape, t.shape, sizeof t.shape);
            if (count)
                assert_memory_equal(back.t.data, data,
                                    (size_t)count * fattn_dtype_size((fattn_dtype)dtype));
            io_tensor_free(&back);
        }
    }
    unlink(scratch(".npy"));
}

static void strided_tensors_are_written_in_order(void **state)
{
    (void)state;
    int32_t data[6] = {0, 1, 2, 3, 4, 5}, expected[6] = {5, 2, 4, 1, 3, 0};
    fattn_tensor t = {
        .data = data + 5, .dtype = FATTN_I32, .rank = 2, .shape = {3, 2}, .strides = {-1, -3}};
    io_error error;
    io_tensor back;
    assert_int_equal(npy_write(scratch(".npy"), &t, &error), IO_OK);
    assert_int_equal(npy_read(scratch(".npy"), FATTN_DTYPE_NONE, &back, &error), IO_OK);
    assert_memory_equal(back.t.data, expected, sizeof expected);
    io_tensor_free(&back);
    unlink(scratch(".npy"));
}

static void fortran_order_becomes_strides(void **state)
{
    (void)state;
    /* np.array([[0, 1, 2], [10, 11, 12]]) stored column by column */
    const int32_t data[6] = {0, 10, 1, 11, 2, 12};
    io_error error;
    io_tensor t;
    assert_int_equal(parse(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n", data,
                           sizeof data, FATTN_DTYPE_NONE, &t, &error),
                     IO_OK);
    assert_int_equal(t.t.strides[0], 1);
    assert_int_equal(t.t.strides[1], 2);
    const int expected[6] = {0, 1, 2, 10, 11, 12};
    for (int i = 0; i < 6; i++)
        assert_int_equal(io_get_int(t.t.data, t.t.dtype, io_offset(&t.t, i)), expected[i]);
    io_tensor_free(&t);
}

static void versions_and_spellings(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *text;
    } good[] = {
        {1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"},
        {2, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}      \n"},
        {3, "{\"shape\":(2,),\"descr\":\"<f8\",\"fortran_order\":False}\n"},
        {1, "{'shape': (2L,), 'fortran_order': False, 'descr': '=f8'}"},
        {1, "{'shape': (1, 2), 'fortran_order': False, 'descr': '<f8', }\n"},
    };
    const double data[2] = {1.5, -2};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        io_error error;
        io_tensor t;
        if (parse(good[i].version, good[i].text, data, sizeof data, FATTN_DTYPE_NONE, &t, &error) !=
            IO_OK)
            fail_msg("%s: %s", good[i].text, error.message);
        assert_memory_equal(t.t.data, data, sizeof data);
        assert_int_equal((uintptr_t)t.t.data % 8, 0);
        io_tensor_free(&t);
    }
}

static void bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        io_code code;
    } bad[] = {
        {"", IO_E_FORMAT},
        {"{}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False}", IO_E_FORMAT},
        {"{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'more': 1}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': None, 'shape': (2,)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2,)} x", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2,", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': 2}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
         IO_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693954,)}", IO_E_FORMAT},
        {"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,)}", IO_E_FORMAT},
        {"{'descr': '>f8', 'fortran_order': False, 'shape': (2,)}", IO_E_DTYPE},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}", IO_E_DTYPE},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", IO_E_DTYPE},
        {"{'descr': '', 'fortran_order': False, 'shape': (2,)}", IO_E_DTYPE},
    };
    const double data[2] = {1.5, -2};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        io_error error = {.code = IO_OK};
        io_tensor t;
        const io_code code = parse(1, bad[i].text, data, sizeof data, FATTN_DTYPE_NONE, &t, &error);
        if (code != bad[i].code) fail_msg("%s: code %d", bad[i].text, code);
        assert_null(t.memory);
        assert_true(strlen(error.message) > 10);
    }
}

static void wanted_dtypes(void **state)
{
    (void)state;
    static const struct {
        const char *descr;
        fattn_dtype as;
        io_code code;
    } cases[] = {
        {"<u2", FATTN_BF16, IO_OK},
        {"<u2", FATTN_F16, IO_OK},
        {"|V2", FATTN_BF16, IO_OK},
        {"<u2", FATTN_DTYPE_NONE, IO_E_DTYPE},
        {"|u1", FATTN_E4M3, IO_OK},
        {"|V1", FATTN_E5M2, IO_OK},
        {"|u1", FATTN_BOOL, IO_OK},
        {"|b1", FATTN_U8, IO_OK},
        {"|V1", FATTN_DTYPE_NONE, IO_E_DTYPE},
        {"<i4", FATTN_I4, IO_OK},
        {"<u4", FATTN_I4, IO_OK},
        {"<u2", FATTN_F32, IO_E_DTYPE},
        {"<f4", FATTN_I8, IO_E_DTYPE},
        {"|i1", FATTN_F32, IO_E_DTYPE},
        {"<f2", FATTN_BF16, IO_OK},
        {"<f4", FATTN_F64, IO_OK},
        {"<i8", FATTN_I32, IO_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        const unsigned char zeros[16] = {0};
        io_error error;
        io_tensor t;
        snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (2,)}",
                 cases[i].descr);
        const size_t n = 2 * (size_t)(cases[i].descr[2] - '0');
        const io_code code = parse(1, text, zeros, n, cases[i].as, &t, &error);
        if (code != cases[i].code)
            fail_msg("%s as %s: code %d", cases[i].descr, fattn_dtype_name(cases[i].as), code);
        if (code == IO_OK) assert_int_equal(t.t.dtype, cases[i].as);
        io_tensor_free(&t);
    }
}

static void conversions_keep_values(void **state)
{
    (void)state;
    const float reals[2] = {1.0009765625f, -3};
    const int64_t whole[2] = {-7, 300};
    io_error error;
    io_tensor t;
    static const char f4[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}";
    static const char i8[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}";
    assert_int_equal(parse(1, f4, reals, sizeof reals, FATTN_F16, &t, &error), IO_OK);
    assert_true(io_get(t.t.data, FATTN_F16, 0) == 1.0009765625);
    assert_true(io_get(t.t.data, FATTN_F16, 1) == -3);
    io_tensor_free(&t);
    assert_int_equal(parse(1, i8, whole, sizeof whole, FATTN_I32, &t, &error), IO_OK);
    assert_int_equal(io_get_int(t.t.data, FATTN_I32, 0), -7);
    assert_int_equal(io_get_int(t.t.data, FATTN_I32, 1), 300);
    io_tensor_free(&t);
    assert_int_equal(parse(1, i8, whole, sizeof whole, FATTN_I8, &t, &error), IO_E_DTYPE);
    assert_non_null(strstr(error.message, "300"));
}

/* A file cut anywhere is an error with a sentence. */
static void truncated_everywhere(void **state)
{
    (void)state;
    float data[6] = {0};
    io_error error;
    size_t n;
    const fattn_tensor t = io_contiguous(data, FATTN_F32, 2, (const int64_t[]){2, 3});
    npy_write(scratch(".npy"), &t, &error);
    unsigned char *bytes = slurp(scratch(".npy"), &n);
    for (size_t cut = 0; cut < n; cut++) {
        io_tensor back;
        unsigned char *part = malloc(cut ? cut : 1);
        memcpy(part, bytes, cut);
        assert_int_equal(npy_parse(part, cut, FATTN_DTYPE_NONE, &back, &error), IO_E_FORMAT);
        spill(scratch(".cut.npy"), bytes, cut);
        assert_int_equal(npy_read(scratch(".cut.npy"), FATTN_DTYPE_NONE, &back, &error),
                         IO_E_FORMAT);
        assert_null(back.memory);
    }
    free(bytes);
    unlink(scratch(".npy"));
    unlink(scratch(".cut.npy"));
}

/* Damaged files: either refused with a sentence, or a tensor whose elements are all there. */
static void garbage(void **state)
{
    (void)state;
    static const char text[] = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }  \n";
    const float data[6] = {1, 2, 3, 4, 5, 6};
    uint64_t seed = 11;
    int accepted = 0;
    for (int round = 0; round < 40000; round++) {
        size_t n;
        unsigned char *bytes = make(1 + round % 3, text, data, sizeof data, &n);
        for (uint32_t hits = 1 + next_random(&seed) % 4; hits > 0; hits--) {
            static const char likely[] = "0123456789(),'{}:<|fiuVbL \n";
            const size_t at = next_random(&seed) % (round % 2 ? n : 70);
            const uint32_t value = next_random(&seed);
            bytes[at] = round % 5 ? (unsigned char)likely[value % (sizeof likely - 1)]
                                  : (unsigned char)value;
        }
        io_tensor t;
        io_error error = {.code = IO_OK};
        const fattn_dtype as = (fattn_dtype)(next_random(&seed) % FATTN_DTYPE_COUNT);
        if (npy_parse(bytes, n, as, &t, &error) != IO_OK) {
            assert_null(t.memory);
            assert_true(strlen(error.message) > 10);
            continue;
        }
        int64_t count;
        double sum = 0;
        assert_true(io_count(t.t.rank, t.t.shape, &count));
        for (int64_t i = 0; i < count; i++) sum += io_get(t.t.data, t.t.dtype, io_offset(&t.t, i));
        accepted += !isnan(sum) || count > 0;
        io_tensor_free(&t);
    }
    assert_true(accepted > 100); /* else the damage is too heavy to test anything */
}

/* A file without an end: nothing is read that no header promised. */
static void endless_files(void **state)
{
    (void)state;
    static const char *const begins[] = {"", "\\223NUMPY\\002\\000\\377\\377\\377\\377",
                                         "\\223NUMPY\\001\\000\\377\\377",
                                         ("\\223NUMPY\\001\\000\\072\\000{\"descr\": \"<f4\", "
                                          "\"fortran_order\": False, \"shape\": (3,)}   ")};
    io_tensor t;
    io_error error;
    void *bytes;
    size_t n;
    assert_int_equal(npy_read("/dev/zero", FATTN_DTYPE_NONE, &t, &error), IO_E_FORMAT);
    assert_non_null(strstr(error.message, "/dev/zero: not a .npy file"));
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        char command[256], path[32];
        snprintf(command, sizeof command, "{ printf '%s'; exec cat /dev/zero 2>&-; }", begins[i]);
        FILE *pipe = popen(command, "r");
        assert_non_null(pipe);
        snprintf(path, sizeof path, "/dev/fd/%d", fileno(pipe));
        assert_int_equal(npy_read(path, FATTN_DTYPE_NONE, &t, &error), IO_E_FORMAT);
        assert_null(t.memory);
        if (i == 3) assert_non_null(strstr(error.message, "13 bytes follow"));
        pclose(pipe);
    }
    assert_int_equal(io_read_file("/dev/zero", &bytes, &n, &error), IO_E_FORMAT);
}

/* A header that promises more than the file has takes no memory for the promise. */
static void promises_are_not_believed(void **state)
{
    (void)state;
    size_t n;
    io_tensor t;
    io_error error;
    void *bytes =
        make(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }", "", 0, &n);
    spill(scratch(".npy"), bytes, n);
    free(bytes);
    assert_int_equal(npy_read(scratch(".npy"), FATTN_DTYPE_NONE, &t, &error), IO_E_FORMAT);
    assert_non_null(strstr(error.message, "0 bytes follow"));
    unlink(scratch(".npy"));
}

static void files_that_are_not_there(void **state)
{
    (void)state;
    io_tensor t;
    io_error error;
    float data = 0;
    const fattn_tensor one = io_contiguous(&data, FATTN_F32, 0, NULL);
    assert_int_equal(io_tensor_read("no/such/file.npy", FATTN_DTYPE_NONE, &t, &error), IO_E_FILE);
    assert_non_null(strstr(error.message, "no/such/file.npy"));
    assert_int_equal(io_tensor_read(".", FATTN_DTYPE_NONE, &t, &error), IO_E_FILE);
    assert_int_equal(io_tensor_read("", FATTN_DTYPE_NONE, &t, &error), IO_E_FILE);
    assert_int_equal(npy_write("no/such/file.npy", &one, &error), IO_E_FILE);
    assert_int_equal(npy_write("/dev/full", &one, &error), IO_E_FILE);
    assert_int_equal(io_split("a/b.safetensors:x.y"), strlen("a/b.safetensors"));
    assert_int_equal(io_split("a/b.npy"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_as_numpy_writes),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(strided_tensors_are_written_in_order),
        cmocka_unit_test(fortran_order_becomes_strides),
        cmocka_unit_test(versions_and_spellings),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(wanted_dtypes),
        cmocka_unit_test(conversions_keep_values),
        cmocka_unit_test(truncated_everywhere),
        cmocka_unit_test(garbage),
        cmocka_unit_test(endless_files),
        cmocka_unit_test(promises_are_not_believed),
        cmocka_unit_test(files_that_are_not_there),
    };
    return cmocka_run_group_tests_name("io_npy", tests, NULL, NULL);
}
