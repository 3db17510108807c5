/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.c — .safetensors files: round trip, lookup by name, damage of every kind. */
#include "io_case.h"

#include "io/element.h"
#include "io/safetensors.h"

#include <math.h>

/* Length, header text, data. */
static void write_raw(const char *header, const void *data, size_t n)
{
    unsigned char bytes[1024] = {0};
    const size_t length = strlen(header);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    if (n) memcpy(bytes + 8 + length, data, n);
    spill(scratch(".safetensors"), bytes, 8 + length + n);
}

static const float reals[6] = {1, 2, 3, 4, 5, 6};
static const uint16_t brains[2] = {0x3f80, 0xc000}; /* 1, -2 */

static void write_sample(void)
{
    const fattn_tensor a =
        io_contiguous((void *)(uintptr_t)reals, FATTN_F32, 2, (const int64_t[]){2, 3});
    const fattn_tensor b =
        io_contiguous((void *)(uintptr_t)brains, FATTN_BF16, 1, (const int64_t[]){2});
    const fattn_tensor none = io_contiguous(NULL, FATTN_I64, 2, (const int64_t[]){0, 4});
    const char *names[] = {"layer.0.q", "b", "empty"};
    const fattn_tensor *tensors[] = {&a, &b, &none};
    io_error error;
    if (safetensors_write(scratch(".safetensors"), 3, names, tensors, &error) != IO_OK)
        fail_msg("%s", error.message);
}

static void many_round_trip(void **state)
{
    (void)state;
    io_error error;
    io_tensor t;
    char where[512];
    write_sample();
    snprintf(where, sizeof where, "%s:layer.0.q", scratch(".safetensors"));
    assert_int_equal(io_tensor_read(where, FATTN_DTYPE_NONE, &t, &error), IO_OK);
    assert_int_equal(t.t.dtype, FATTN_F32);
    assert_int_equal(t.t.shape[0], 2);
    assert_memory_equal(t.t.data, reals, sizeof reals);
    io_tensor_free(&t);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "b", FATTN_DTYPE_NONE, &t, &error),
                     IO_OK);
    assert_int_equal(t.t.dtype, FATTN_BF16);
    assert_memory_equal(t.t.data, brains, sizeof brains);
    io_tensor_free(&t);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "b", FATTN_F32, &t, &error), IO_OK);
    assert_true(((const float *)t.t.data)[1] == -2);
    io_tensor_free(&t);
    assert_int_equal(
        safetensors_read(scratch(".safetensors"), "empty", FATTN_DTYPE_NONE, &t, &error), IO_OK);
    io_tensor_free(&t);
    char **names;
    int n;
    assert_int_equal(safetensors_names(scratch(".safetensors"), &names, &n, &error), IO_OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "layer.0.q");
    for (int i = 0; i < n; i++) free(names[i]);
    free(names);
    unlink(scratch(".safetensors"));
}

/* The format by hand: unaligned data, metadata, any order of keys. */
static void written_by_others(void **state)
{
    (void)state;
    io_error error;
    io_tensor t;
    const unsigned char data[7] = {9, 1, 0, 2, 0, 3, 0};
    write_raw("{\"__metadata__\":{\"format\":\"pt\"},\"x\":{\"data_offsets\":[1,7],\"shape\":[3],"
              "\"dtype\":"
              "\"U16\"},\"m\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[0,1]}}",
              data, sizeof data);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "x", FATTN_DTYPE_NONE, &t, &error),
                     IO_E_DTYPE);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "x", FATTN_F16, &t, &error), IO_OK);
    assert_int_equal(((const uint16_t *)t.t.data)[2], 3);
    io_tensor_free(&t);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "m", FATTN_DTYPE_NONE, &t, &error),
                     IO_OK);
    assert_int_equal(t.t.rank, 0);
    io_tensor_free(&t);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "y", FATTN_F16, &t, &error),
                     IO_E_NAME);
    assert_int_equal(
        safetensors_read(scratch(".safetensors"), "__metadata__", FATTN_F16, &t, &error),
        IO_E_NAME);
    unlink(scratch(".safetensors"));
}

static void bad_entries(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        io_code code;
    } bad[] = {
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,\"8\"]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[-2,-1],\"data_offsets\":[0,8]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[4611686018427387904,2],\"data_offsets\":[0,0]}",
         IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}", IO_E_FORMAT},
        {"{\"dtype\":\"F32\",\"data_offsets\":[0,8]}", IO_E_FORMAT},
        {"{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}", IO_E_DTYPE},
        {"{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}", IO_E_DTYPE},
        {"[1,2]", IO_E_DTYPE},
        {"null", IO_E_DTYPE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char header[256];
        io_error error = {.code = IO_OK};
        io_tensor t;
        snprintf(header, sizeof header, "{\"x\":%s}", bad[i].entry);
        write_raw(header, reals, 8);
        const io_code code =
            safetensors_read(scratch(".safetensors"), "x", FATTN_DTYPE_NONE, &t, &error);
        if (code != bad[i].code) fail_msg("%s: code %d (%s)", bad[i].entry, code, error.message);
        assert_null(t.memory);
    }
    io_error error;
    io_tensor t;
    write_raw("{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"x\":{\"dtype\":"
              "\"U8\",\"shape\":"
              "[1],\"data_offsets\":[0,1]}}",
              reals, 1);
    assert_int_equal(safetensors_read(scratch(".safetensors"), "x", FATTN_U8, &t, &error),
                     IO_E_FORMAT);
    unlink(scratch(".safetensors"));
}

static void truncated_everywhere(void **state)
{
    (void)state;
    size_t n;
    write_sample();
    unsigned char *bytes = slurp(scratch(".safetensors"), &n);
    for (size_t cut = 0; cut < n; cut++) {
        io_error error = {.code = IO_OK};
        io_tensor t;
        spill(scratch(".cut.safetensors"), bytes, cut);
        /* "b" lies last: no cut leaves it whole. */
        assert_int_equal(
            safetensors_read(scratch(".cut.safetensors"), "b", FATTN_DTYPE_NONE, &t, &error),
            IO_E_FORMAT);
        assert_true(strlen(error.message) > 10);
        assert_null(t.memory);
    }
    free(bytes);
    unlink(scratch(".safetensors"));
    unlink(scratch(".cut.safetensors"));
}

static void garbage(void **state)
{
    (void)state;
    size_t n;
    uint64_t seed = 5;
    int accepted = 0;
    write_sample();
    unsigned char *bytes = slurp(scratch(".safetensors"), &n);
    unsigned char *damaged = malloc(n);
    for (int round = 0; round < 2000; round++) {
        static const char likely[] = "0123456789{}[]\",:-eFUI";
        io_error error = {.code = IO_OK};
        io_tensor t;
        memcpy(damaged, bytes, n);
        for (uint32_t hits = 1 + next_random(&seed) % 3; hits > 0; hits--) {
            const size_t at = next_random(&seed) % n;
            damaged[at] = round % 4
                              ? (unsigned char)likely[next_random(&seed) % (sizeof likely - 1)]
                              : (unsigned char)next_random(&seed);
        }
        spill(scratch(".bad.safetensors"), damaged, n);
        if (safetensors_read(scratch(".bad.safetensors"), "layer.0.q", FATTN_DTYPE_NONE, &t,
                             &error) != IO_OK) {
            assert_true(strlen(error.message) > 10);
            assert_null(t.memory);
            continue;
        }
        int64_t count;
        double sum = 0;
        assert_true(io_count(t.t.rank, t.t.shape, &count));
        for (int64_t i = 0; i < count; i++) sum += io_get(t.t.data, t.t.dtype, i);
        accepted += count > 0 || isnan(sum);
        io_tensor_free(&t);
    }
    assert_true(accepted > 25);
    free(bytes);
    free(damaged);
    unlink(scratch(".safetensors"));
    unlink(scratch(".bad.safetensors"));
}

static void bad_writes(void **state)
{
    (void)state;
    io_error error;
    const fattn_tensor t =
        io_contiguous((void *)(uintptr_t)reals, FATTN_F32, 1, (const int64_t[]){2});
    const char *same[] = {"a", "a"}, *latin[] = {"\xe9", "b"};
    const fattn_tensor *tensors[] = {&t, &t};
    assert_int_equal(safetensors_write(scratch(".safetensors"), 2, same, tensors, &error),
                     IO_E_FORMAT);
    assert_int_equal(safetensors_write(scratch(".safetensors"), 2, latin, tensors, &error),
                     IO_E_FORMAT);
    assert_int_equal(safetensors_write("no/such/place.safetensors", 1, same, tensors, &error),
                     IO_E_FILE);
    assert_int_not_equal(access(scratch(".safetensors"), F_OK), 0);
    io_tensor back;
    assert_int_equal(io_tensor_read("x.safetensors", FATTN_DTYPE_NONE, &back, &error), IO_E_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_round_trip), cmocka_unit_test(written_by_others),
        cmocka_unit_test(bad_entries),     cmocka_unit_test(truncated_everywhere),
        cmocka_unit_test(garbage),         cmocka_unit_test(bad_writes),
    };
    return cmocka_run_group_tests_name("io_safetensors", tests, NULL, NULL);
}
