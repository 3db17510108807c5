/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs of a tiny model: what it learns, the same bits again, files that are refused with one line,
 * and a checkpoint that a failed write leaves alone. The text is the licence of this project. */
#include "cm.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/checkpoint.h"
#include "train/train.h"

#define TEXT FATTN_SOURCE_DIR "/LICENSE"

typedef struct fixture {
    char dir[32], path[128], error[800];
    train_report report;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f || !gemm_available()) return -1;
    strcpy(f->dir, "/tmp/fattn-train-XXXXXX");
    *state = f;
    return mkdtemp(f->dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors",
                                        "checkpoint.safetensors", "checkpoint.safetensors.new", "text"};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(f->path, sizeof f->path, "%s/%s", f->dir, names[i]);
        unlink(f->path);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

static train_options tiny(const fixture *f)
{
    train_options o = train_defaults();
    o.text = TEXT, o.out_dir = f->dir;
    o.shape.hidden_size = 32, o.shape.num_hidden_layers = 2, o.shape.num_attention_heads = 4;
    o.shape.num_key_value_heads = 2, o.shape.intermediate_size = 48, o.shape.vocab_size = 300;
    o.steps = 40, o.batch = 4, o.length = 48, o.warmup = 5, o.lr = 1e-2;
    o.quiet = true;
    return o;
}

static void run(fixture *f, const train_options *o)
{
    if (train_run(o, &f->report, f->error, sizeof f->error) != TRAIN_OK) fail_msg("%s", f->error);
}

/* One line that says `word`. */
static void refused(fixture *f, const train_options *o, const char *word)
{
    f->error[0] = '\0';
    assert_int_equal(train_run(o, &f->report, f->error, sizeof f->error), TRAIN_BAD_DATA);
    if (!strstr(f->error, word)) fail_msg("no '%s' in: %s", word, f->error);
    assert_null(strchr(f->error, '\n'));
}

/* With all scores in memory, forward and backward by the chain rule, the same model is learned. */
static void the_operators_change_nothing(void **state)
{
    fixture *f = *state;
    train_options o = tiny(f);
    run(f, &o);
    const double loss = f->report.loss, bits = f->report.bits_per_byte;
    o.way = ATTENTION_MATERIALISED;
    run(f, &o);
    assert_true(loss < 5); /* ln 300 = 5.7: something was learned */
    assert_true(fabs(loss - f->report.loss) < 1e-3 * loss);
    assert_true(fabs(bits - f->report.bits_per_byte) < 1e-3 * bits);
}

static uint64_t hash_file(fixture *f, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    FILE *file = fopen(f->path, "rb");
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;) h = (h ^ (uint64_t)c) * UINT64_C(0x100000001b3);
    fclose(file);
    return h;
}

static void a_seed_repeats_with_dropout(void **state)
{
    fixture *f = *state;
    train_options o = tiny(f);
    o.steps = 6, o.keep_prob = 0.8;
    run(f, &o);
    const uint64_t first = hash_file(f, "model.safetensors");
    run(f, &o);
    assert_true(hash_file(f, "model.safetensors") == first);
    o.seed = 2;
    run(f, &o);
    assert_true(hash_file(f, "model.safetensors") != first);
    o.seed = 1, o.keep_prob = 1;
    run(f, &o);
    assert_true(hash_file(f, "model.safetensors") != first);
}

static void a_stop_before_the_first_step(void **state)
{
    fixture *f = *state;
    const volatile sig_atomic_t stop = 1;
    train_options o = tiny(f);
    o.stop = &stop;
    run(f, &o);
    assert_true(f->report.stopped);
    assert_int_equal(f->report.steps, 0);
}

/* ---- files from outside ------------------------------------------------------------------------- */

static void write_bytes(fixture *f, const char *name, const void *bytes, size_t n)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    FILE *file = fopen(f->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void bad_texts(void **state)
{
    fixture *f = *state;
    char path[64], bytes[4000];
    train_options o = tiny(f);
    o.text = "/nowhere/text";
    refused(f, &o, "/nowhere/text: No such file");
    o.text = "/tmp";
    refused(f, &o, "/tmp: ");
    snprintf(path, sizeof path, "%s/text", f->dir);
    o.text = path;
    write_bytes(f, "text", "", 0);
    refused(f, &o, "is empty");
    write_bytes(f, "text", "too short", 9);
    refused(f, &o, "9 bytes are too few");
    memset(bytes, 'a', sizeof bytes);
    bytes[1234] = '\0';
    write_bytes(f, "text", bytes, sizeof bytes);
    refused(f, &o, "byte 1234 is 0");
    bytes[1234] = 'a';
    write_bytes(f, "text", bytes, sizeof bytes);
    o.length = 5000;
    refused(f, &o, "smaller --seq-len");
}

static size_t read_checkpoint(fixture *f, char *bytes, size_t room)
{
    snprintf(f->path, sizeof f->path, "%s/checkpoint.safetensors", f->dir);
    FILE *file = fopen(f->path, "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, room, file);
    fclose(file);
    assert_true(n > 1000 && n < room);
    return n;
}

static void bad_checkpoints(void **state)
{
    enum { ROOM = 1 << 20 };
    fixture *f = *state;
    char *good = malloc(ROOM), *bad = malloc(ROOM);
    train_options o = tiny(f);
    o.steps = 3;
    o.resume = true;
    refused(f, &o, "tokenizer.json");
    o.resume = false;
    run(f, &o);
    o.resume = true;
    const size_t n = read_checkpoint(f, good, ROOM);
    write_bytes(f, "checkpoint.safetensors", good, n / 2);
    refused(f, &o, "checkpoint.safetensors");
    write_bytes(f, "checkpoint.safetensors", good, 4);
    refused(f, &o, "checkpoint.safetensors");
    memcpy(bad, good, n);
    memset(bad + n / 2, 0xff, 4); /* a NaN among the numbers */
    write_bytes(f, "checkpoint.safetensors", bad, n);
    refused(f, &o, "not finite");
    memset(bad, 'x', n);
    write_bytes(f, "checkpoint.safetensors", bad, n);
    refused(f, &o, "checkpoint.safetensors");
    unlink(f->path);
    refused(f, &o, "checkpoint.safetensors");
    write_bytes(f, "checkpoint.safetensors", good, n);
    o.seed = 9;
    refused(f, &o, "seed 1, this run has 9");
    o.seed = 1, o.steps = 4;
    refused(f, &o, "steps 3, this run has 4");
    o.steps = 3, o.batch = 5;
    refused(f, &o, "batch 4, this run has 5");
    o.batch = 4;
    run(f, &o); /* nothing is left to do */
    free(good), free(bad);
}

/* The disk is full: one line, and the old checkpoint is still there. */
static void a_failed_write_leaves_the_old_checkpoint(void **state)
{
    fixture *f = *state;
    struct rlimit usual, small;
    train_options o = tiny(f);
    o.steps = 2;
    run(f, &o);
    const uint64_t before = hash_file(f, "checkpoint.safetensors");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    small = usual;
    small.rlim_cur = 60000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    o.steps = 3;
    const train_code code = train_run(&o, &f->report, f->error, sizeof f->error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0);
    assert_int_equal(code, TRAIN_FAIL);
    assert_non_null(strstr(f->error, "checkpoint.safetensors"));
    assert_null(strchr(f->error, '\n'));
    assert_true(hash_file(f, "checkpoint.safetensors") == before);
    snprintf(f->path, sizeof f->path, "%s/checkpoint.safetensors.new", f->dir);
    assert_int_not_equal(access(f->path, F_OK), 0);
}

int main(void)
{
    if (!gemm_available()) {
        printf("not run: the trainer: no OpenBLAS\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_operators_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_seed_repeats_with_dropout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stop_before_the_first_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_texts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_checkpoints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_checkpoint, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
