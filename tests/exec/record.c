/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on stderr and in files: one whole line per call, whatever came in, and whoever calls at the
 * same time; a directory that cannot be written is told once and changes no result. */
#include "cm.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/context.h"
#include "bnsd_case.h"
#include "exec/line.h"
#include "fattn/fattn.h"

enum { TEXT = 1 << 16 };

static fattn_context *context_with(unsigned record, const char *directory)
{
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, NULL), FATTN_OK);
    context->log = false; /* whatever the environment of this run says */
    context->record = record;
    context->dump_dir = directory;
    return context;
}

/* stderr goes to a file between the two. */
static int kept;
static FILE *caught;
static void catch_stderr(void)
{
    fflush(stderr);
    kept = dup(2);
    caught = tmpfile();
    assert_non_null(caught);
    dup2(fileno(caught), 2);
}
static const char *caught_text(void)
{
    static char text[TEXT];
    dup2(kept, 2);
    close(kept);
    rewind(caught);
    text[fread(text, 1, sizeof text - 1, caught)] = '\0';
    fclose(caught);
    return text;
}

static const char *line_of(const fattn_context *context, const char *op, const void *args)
{
    static char text[2048];
    fattn_text t = {.buffer = text, .size = sizeof text};
    line_add(&t, context, fattn_operator_find(op), args);
    assert_true(t.length < sizeof text);
    return text;
}

static void the_line_says_what_differs_from_the_defaults(void **state)
{
    (void)state;
    fattn_context *context = context_with(0, NULL);
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    const char *op = "fused_infer_attention_score";
    const int64_t shape[] = {2, 4, 3, 8}, lengths[] = {1, 3};
    float data[192];
    int64_t rows = 2;
    fattn_tensor q = fattn_tensor_contiguous(data, FATTN_F32, 4, shape);
    fattn_tensor pad = fattn_tensor_contiguous(&rows, FATTN_I64, 1, (const int64_t[]){1});
    fattn_tensor k = q;
    const int64_t strides[] = {96, 8, 32, 1};
    memcpy(k.strides, strides, sizeof strides);
    a.query = &q, a.key = &k, a.value = &q, a.attention_out = &q;
    a.kv_padding_size = &pad;
    a.actual_seq_lengths_kv = (fattn_int_array){lengths, 2};
    a.actual_seq_lengths = (fattn_int_array){lengths, 0};
    a.scale = 0.1;
    a.num_heads = 4;
    a.input_layout = "BNSD";
    assert_string_equal(
        line_of(context, op, &a),
        "fused_infer_attention_score query=f32[2,4,3,8] key=f32[2,4,3,8] key.strides=96,8,32,1 "
        "value=f32[2,4,3,8] actual_seq_lengths= actual_seq_lengths_kv=1,3 "
        "kv_padding_size=i64[1]{2} num_heads=4 "
        "scale=0.1 input_layout=BNSD attention_out=f32[2,4,3,8] softmax_lse=none strict=0 "
        "backend=any compute=f32");
    a.num_heads = 0; /* from the layout, as the reader of a line has it */
    assert_null(strstr(line_of(context, op, &a), "num_heads"));
    a.input_layout = "BSH";
    assert_non_null(strstr(line_of(context, op, &a), "num_heads=0"));
    a.num_heads = 1; /* the default of BSH */
    assert_null(strstr(line_of(context, op, &a), "num_heads"));
    context->strict = true;
    context->backend = "ref";
    context->compute = FATTN_COMPUTE_F16;
    const char *line = line_of(context, op, &a),
               *end = " softmax_lse=none strict=1 backend=ref compute=f16";
    assert_string_equal(line + strlen(line) - strlen(end), end);
    fattn_context_destroy(context);
}

/* Lists share one detail; an operator's own "seed" has a dot. */
static void lists_and_names_that_are_keys(void **state)
{
    (void)state;
    fattn_context *context = context_with(0, NULL);
    float data[64];
    fattn_tensor t = fattn_tensor_contiguous(data, FATTN_F32, 2, (const int64_t[]){3, 4});
    t.strides[0] = 8;
    const fattn_tensor *both[] = {&t, &t};
    fattn_attention_update_args u;
    fattn_attention_update_args_init(&u);
    u.local_out = (fattn_tensor_array){both, 2};
    const char *line = line_of(context, "attention_update", &u);
    assert_non_null(strstr(line, " local_out=f32[3,4],f32[3,4] local_out.strides=8,1"));
    fattn_fusion_attention_args f;
    fattn_fusion_attention_args_init(&f);
    f.seed = -3;
    assert_non_null(strstr(line_of(context, "fusion_attention", &f), " .seed=-3"));
    fattn_context_destroy(context);
}

/* Whatever stands in the args, the line is one line of printable characters and no memory is
 * touched that the library would not touch itself. */
static void nonsense_is_printed_too(void **state)
{
    (void)state;
    fattn_context *context = context_with(RECORD_CALL, NULL);
    fattn_fusion_attention_args a;
    memset(&a, 0, sizeof a);
    assert_string_equal(line_of(context, "fusion_attention", NULL), "fusion_attention");
    assert_string_equal(line_of(context, "fusion_attention", &a), "fusion_attention");
    fattn_fusion_attention_args_init(&a);
    fattn_tensor bad = {.dtype = (fattn_dtype)99, .rank = 77, .shape = {-1, INT64_MIN}};
    const int64_t one = 1;
    a.query = &bad;
    a.actual_seq_qlen = (fattn_int_array){&one, INT64_MAX};
    a.prefix = (fattn_int_array){&one, -5};
    a.input_layout = "a b\"\n\x01\xff";
    catch_stderr();
    assert_int_not_equal(fattn_fusion_attention(context, &a), FATTN_OK);
    assert_int_not_equal(fattn_fusion_attention(context, NULL), FATTN_OK);
    char *text = strdup(caught_text()), *rest = text;
    const char *first = strsep(&rest, "\n"), *second = strsep(&rest, "\n");
    assert_non_null(second);
    assert_string_equal(rest, "");
    assert_non_null(strstr(first, "query=?[-1,"));
    assert_non_null(strstr(first, " input_layout=a?b???? "));
    assert_non_null(strstr(first, " # FATTN_E_"));
    assert_ptr_equal(strstr(second, "fusion_attention # FATTN_E_ARG "), second);
    free(text);
    fattn_context_destroy(context);
}

static void one_line_per_call_with_its_end(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_context *context = context_with(RECORD_CALL, NULL);
    fattn_plan *plan = NULL;
    catch_stderr();
    assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_OK);
    assert_int_equal(fattn_fusion_attention_plan(context, &c->args, &plan), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_OK);
    c->args.scale = 0.75;
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_E_ARG);
    char *text = strdup(caught_text()), *rest = text;
    const char *lines[3];
    for (int i = 0; i < 3; i++) lines[i] = strsep(&rest, "\n");
    assert_string_equal(rest, ""); /* three, not more */
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(strstr(lines[i], "fusion_attention query="), lines[i]);
    assert_non_null(strstr(lines[0], " # FATTN_OK "));
    assert_non_null(strstr(lines[1], " # FATTN_OK "));
    assert_non_null(strstr(lines[0], fattn_context_isa(context)));
    assert_non_null(strstr(lines[2], " scale=0.75 "));
    assert_non_null(strstr(lines[2], " # FATTN_E_ARG "));
    assert_non_null(strstr(lines[2], fattn_error_message()));
    free(text);
    fattn_plan_destroy(plan);
    fattn_context_destroy(context);
    free(c);
}

static void a_plan_is_told_when_it_is_made(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_context *context = context_with(RECORD_PLAN, NULL);
    fattn_plan *plan = NULL;
    char wanted[700];
    catch_stderr();
    assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_OK);
    assert_int_equal(fattn_fusion_attention_plan(context, &c->args, &plan), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_OK);
    const char *text = caught_text();
    const char *told = fattn_plan_describe(plan);
    snprintf(wanted, sizeof wanted, "# plan %s\n# plan %s\n", told, told);
    assert_string_equal(text, wanted);
    assert_non_null(strstr(told, " items ("));
    assert_non_null(strstr(told, fattn_context_isa(context)));
    fattn_plan_destroy(plan);
    fattn_context_destroy(context);
    free(c);
}

/* ---- several threads ---- */

enum { THREADS = 6, CALLS = 40 };

typedef struct talker {
    fattn_context *context;
    call_case *c;
} talker;

static void *talk(void *arg)
{
    const talker *t = arg;
    for (int i = 0; i < CALLS; i++)
        if (fattn_fusion_attention(t->context, &t->c->args) != FATTN_OK) abort();
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    talker talkers[THREADS];
    fattn_context *context = context_with(RECORD_CALL, NULL);
    catch_stderr();
    for (int i = 0; i < THREADS; i++) {
        talkers[i] = (talker){context, case_new((unsigned)i)};
        pthread_create(&threads[i], NULL, talk, &talkers[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    dup2(kept, 2);
    close(kept);
    rewind(caught);
    char line[4096], first[4096];
    int n = 0;
    while (fgets(line, sizeof line, caught)) {
        char *comment = strstr(line, " # FATTN_OK ");
        assert_non_null(comment);
        *comment = '\0';
        if (n++ == 0) snprintf(first, sizeof first, "%s", line);
        assert_string_equal(line, first);
    }
    fclose(caught);
    assert_int_equal(n, THREADS * CALLS);
    for (int i = 0; i < THREADS; i++) free(talkers[i].c);
    fattn_context_destroy(context);
}

/* ---- files ---- */

static int count_files(const char *directory)
{
    int n = 0;
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        n += strstr(e->d_name, ".safetensors") != NULL;
    closedir(dir);
    return n;
}

static void remove_all(const char *directory)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
}

/* The directory is made, every call has a file of its own, and the result is the one without a
 * record. */
static void every_call_has_a_file(void **state)
{
    (void)state;
    char directory[64];
    snprintf(directory, sizeof directory, "record_%ld", (long)getpid());
    call_case *c = case_new(1), *plain = case_new(1);
    fattn_context *context = context_with(RECORD_DUMP, directory);
    fattn_plan *plan = NULL;
    assert_int_equal(fattn_fusion_attention(NULL, &plain->args), FATTN_OK);
    assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_OK);
    assert_memory_equal(c->out, plain->out, sizeof c->out);
    assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_OK);
    assert_int_equal(count_files(directory), 2);
    assert_int_equal(fattn_fusion_attention_plan(context, &c->args, &plan), FATTN_OK);
    assert_int_equal(count_files(directory), 2);
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_OK);
    c->args.scale = 0.75;
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_E_ARG);
    c->args.query = NULL;
    assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_E_ARG);
    assert_int_equal(count_files(directory), 5);
    fattn_plan_destroy(plan);
    fattn_context_destroy(context);
    remove_all(directory);
    free(c), free(plain);
}

typedef struct heard {
    int n;
    char place[64], sentence[512];
} heard;

static void hear(void *self, const char *place, const char *sentence)
{
    heard *h = self;
    h->n++;
    snprintf(h->place, sizeof h->place, "%s", place);
    snprintf(h->sentence, sizeof h->sentence, "%s", sentence);
}

static void a_directory_that_cannot_be_written_is_told_once(void **state)
{
    (void)state;
    call_case *c = case_new(1), *plain = case_new(1);
    heard h = {0};
    fattn_context *context = context_with(RECORD_DUMP, "/dev/null/nowhere");
    context->warn = hear;
    context->warn_self = &h;
    warn_reset();
    assert_int_equal(fattn_fusion_attention(NULL, &plain->args), FATTN_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_OK);
    assert_memory_equal(c->out, plain->out, sizeof c->out);
    assert_int_equal(h.n, 1);
    assert_string_equal(h.place, "dump_failed");
    assert_non_null(strstr(h.sentence, "/dev/null/nowhere/fusion_attention-"));
    context->warn = NULL; /* told even where nobody listens: it was asked for */
    warn_reset();
    catch_stderr();
    assert_int_equal(fattn_fusion_attention(context, &c->args), FATTN_OK);
    assert_non_null(strstr(caught_text(), "dump_failed"));
    fattn_context_destroy(context);
    free(c), free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_says_what_differs_from_the_defaults),
        cmocka_unit_test(lists_and_names_that_are_keys),
        cmocka_unit_test(nonsense_is_printed_too),
        cmocka_unit_test(one_line_per_call_with_its_end),
        cmocka_unit_test(a_plan_is_told_when_it_is_made),
        cmocka_unit_test(lines_of_threads_do_not_mix),
        cmocka_unit_test(every_call_has_a_file),
        cmocka_unit_test(a_directory_that_cannot_be_written_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
