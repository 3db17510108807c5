/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c — eight threads of an application share one context and its plans, each with a
 * workspace of its own, and get the bits of a lonely run; children of fork() compute while the
 * parent does.
 *
 * FATTN_FORKS sets the number of forks (40; 1,000 with FATTN_TEST_FULL). */
#include "cm.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "garbage/call.h"

enum { CANARY = 0xa5, THREADS = 8, ROUNDS = 60, CHILD_SECONDS = 120 };

#if defined(__has_feature)
#define FEATURE(x) __has_feature(x)
#else
#define FEATURE(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || FEATURE(thread_sanitizer)
enum { UNDER_TSAN = 1 };
#else
enum { UNDER_TSAN = 0 };
#endif
#if defined(__SANITIZE_ADDRESS__) || FEATURE(address_sanitizer)
enum { UNDER_ASAN = 1 }; /* its allocator is not made for fork(): the load must not allocate */
#else
enum { UNDER_ASAN = 0 };
#endif

/* Prefill, decode that is split, paged decode, packed training, prefill and decode in one paged
 * call, shared prefix, bookkeeping, merging. */
static const char *const lines[] = {
    "fusion_attention input_layout=BNSD query=f16[2,8,40,16] key=f16[2,4,60,16] "
    "value=f16[2,4,60,16]"
    " sparse_mode=3",
    "incre_flash_attention input_layout=BNSD num_heads=4 num_key_value_heads=2 query=f32[1,4,1,16]"
    " key=f32[1,2,1500,16] value=f32[1,2,1500,16]",
    "fused_infer_attention_score input_layout=BSND num_heads=8 num_key_value_heads=2"
    " query=bf16[3,1,8,32] key=bf16[40,16,64] value=bf16[40,16,64] block_table=i32[3,12]"
    " block_size=16 actual_seq_lengths_kv=190,3,100 softmax_lse_flag=true",
    "fusion_attention input_layout=TND query=f32[50,4,8] key=f32[70,2,8] value=f32[70,2,8]"
    " actual_seq_qlen=20,50 actual_seq_kvlen=30,70 sparse_mode=3",
    "fused_infer_attention_score_v2 input_layout=TND num_query_heads=8 num_key_value_heads=2"
    " query=f16[42,8,16] key=f16[90,2,16,16] value=f16[90,2,16,16] block_table=i32[3,60] "
    "block_size=16"
    " actual_seq_qlen=1,41,42 actual_seq_kvlen=900,60,5 sparse_mode=3 learnable_sink=bf16[8]",
    "fused_infer_attention_score input_layout=BNSD num_heads=4 num_key_value_heads=2 "
    "query=bf16[2,4,3,16]"
    " key=bf16[2,2,40,16] value=bf16[2,2,40,16] key_shared_prefix=bf16[1,2,700,16]"
    " value_shared_prefix=bf16[1,2,700,16] sparse_mode=3",
    "advance_step_flashattn num_seqs=5 num_queries=3 block_size=4 input_tokens=i64[5]"
    " sampled_token_ids=i64[3,1] input_positions=i64[5] seq_lens=i32[5] slot_mapping=i32[5]"
    " block_tables=i32[5,4]",
    "attention_update lse=f32[30]*3 local_out=f16[30,8]*3 update_type=1",
};
enum { LINES = sizeof lines / sizeof lines[0], ATTENTION_LINES = 6 };

typedef struct work {
    fattn_context *context; /* shared */
    fattn_plan *plans[LINES];
    unsigned char *right[LINES];
    size_t n_right[LINES];
    atomic_int failures;
    atomic_bool stop;
    atomic_long runs, busy;
} work;

typedef struct worker {
    work *w;
    call *calls[LINES];
    void *workspaces[LINES];
    size_t bytes[LINES];
    int number;
    atomic_long rounds;
} worker;

/* All bytes that a call may write; `into` NULL = only their number. */
static size_t written(const call *c, unsigned char *into)
{
    size_t at = 0;
    for (int i = 0; i < c->n_tensors; i++) {
        if (is_input(&c->tensors[i])) continue;
        if (into) memcpy(into + at, c->tensors[i].slot.base, c->tensors[i].slot.capacity);
        at += c->tensors[i].slot.capacity;
    }
    if (into) memcpy(into + at, c->cells, sizeof c->cells);
    return at + sizeof c->cells;
}

static void complain(work *w, const call *c, const char *what)
{
    atomic_fetch_add(&w->failures, 1);
    fprintf(stderr, "%s\n  %s\n", what, c->text);
}

/* Against the bytes of written(), without a copy. */
static void compare(work *w, const call *c, int l)
{
    const unsigned char *right = w->right[l];
    bool same = true;
    for (int i = 0; i < c->n_tensors; i++) {
        const fenced *slot = &c->tensors[i].slot;
        if (is_input(&c->tensors[i])) continue;
        same &= memcmp(right, slot->base, slot->capacity) == 0;
        right += slot->capacity;
    }
    if (!same || memcmp(right, c->cells, sizeof c->cells) != 0) complain(w, c, "other bits");
}

/* 0: the call; 1: the shared plan with our workspace; 2: the shared plan with its own. */
static void run_one(const worker *me, int l, int how)
{
    work *w = me->w;
    call *c = me->calls[l];
    call_arm(c, CANARY);
    const fattn_status status =
        how == 0 ? c->op->call(w->context, c->args)
                 : fattn_plan_run(w->plans[l], c->args, how == 1 ? me->workspaces[l] : NULL,
                                  me->bytes[l]);
    if (how == 2 && status == FATTN_E_BUSY) {
        atomic_fetch_add(&w->busy, 1);
        if (!call_untouched(c, CANARY)) complain(w, c, "busy, and an output touched");
        return;
    }
    atomic_fetch_add(&w->runs, 1);
    if (status != FATTN_OK)
        complain(w, c, fattn_error_message());
    else
        compare(w, c, l);
}

static void *rounds(void *arg)
{
    const worker *me = arg;
    for (int r = 0; r < ROUNDS; r++)
        for (int l = 0; l < LINES; l++) run_one(me, (l + me->number) % LINES, (r + me->number) % 3);
    return NULL;
}

static void *until_stopped(void *arg)
{
    worker *me = arg;
    for (int r = 0; !atomic_load(&me->w->stop); r++) {
        run_one(me, UNDER_ASAN ? r % ATTENTION_LINES : r % LINES, UNDER_ASAN ? 1 : r % 2);
        atomic_fetch_add(&me->rounds, 1);
    }
    return NULL;
}

static fattn_context *new_context(int threads)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = threads;
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    return context;
}

static void start_worker(worker *me, work *w, int number)
{
    *me = (worker){.w = w, .number = number};
    for (int l = 0; l < LINES; l++) {
        me->calls[l] = call_new(lines[l], w->context);
        assert_non_null(me->calls[l]);
        me->bytes[l] = fattn_plan_workspace(w->plans[l]);
        me->workspaces[l] = aligned_alloc(64, me->bytes[l] / 64 * 64 + 64);
        assert_non_null(me->workspaces[l]);
    }
}

static void end_worker(worker *me)
{
    for (int l = 0; l < LINES; l++) {
        call_free(me->calls[l]);
        free(me->workspaces[l]);
    }
}

/* The right bits come from one thread; then a context of three is shared. */
static void start_work(work *w)
{
    memset(w, 0, sizeof *w);
    fattn_context *alone = new_context(1);
    w->context = new_context(3);
    for (int l = 0; l < LINES; l++) {
        call *c = call_new(lines[l], alone);
        assert_non_null(c);
        call_arm(c, CANARY);
        assert_int_equal(c->op->call(alone, c->args), FATTN_OK);
        w->n_right[l] = written(c, NULL);
        w->right[l] = malloc(w->n_right[l]);
        assert_non_null(w->right[l]);
        written(c, w->right[l]);
        assert_int_equal(c->op->plan(w->context, c->args, &w->plans[l]), FATTN_OK);
        call_free(c);
    }
    fattn_context_destroy(alone);
}

static void end_work(work *w)
{
    for (int l = 0; l < LINES; l++) {
        fattn_plan_destroy(w->plans[l]);
        free(w->right[l]);
    }
    fattn_context_destroy(w->context);
}

static work shared;
static worker workers[THREADS];

static void run_threads(int n, void *(*body)(void *), pthread_t *threads)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, &workers[i]), 0);
}

static void test_many_threads_one_context(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    start_work(&shared);
    for (int i = 0; i < THREADS; i++) start_worker(&workers[i], &shared, i);
    run_threads(THREADS, rounds, threads);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) end_worker(&workers[i]);
    printf("%ld runs, %ld busy\n", atomic_load(&shared.runs), atomic_load(&shared.busy));
    assert_int_equal(atomic_load(&shared.failures), 0);
    end_work(&shared);
}

/* A message belongs to the thread that failed. */
static void *fail_with_own_number(void *arg)
{
    worker *me = arg;
    char wanted[32];
    fattn_fusion_attention_args args;
    for (int r = 0; r < 500; r++) {
        fattn_fusion_attention_args_init(&args);
        args.size = (size_t)(me->number + 1);
        snprintf(wanted, sizeof wanted, "args->size is %d,", me->number + 1);
        if (fattn_fusion_attention(NULL, &args) != FATTN_E_ARG ||
            !strstr(fattn_error_message(), wanted))
            atomic_fetch_add(&me->w->failures, 1);
    }
    return NULL;
}

static void test_messages_belong_to_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    memset(&shared, 0, sizeof shared);
    for (int i = 0; i < THREADS; i++) workers[i] = (worker){.w = &shared, .number = i};
    run_threads(THREADS, fail_with_own_number, threads);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&shared.failures), 0);
}

/* What a child does: the parent's context, plans and the process default, then one of its own. */
static void child(const worker *me)
{
    alarm(CHILD_SECONDS);
    work *w = me->w;
    atomic_store(&w->failures, 0);
    for (int l = 0; l < LINES; l++)
        for (int how = 0; how < 2; how++) run_one(me, l, how);
    for (int l = 0; l < LINES; l++) {
        call_arm(me->calls[l], CANARY);
        if (me->calls[l]->op->call(NULL, me->calls[l]->args) != FATTN_OK)
            complain(w, me->calls[l], fattn_error_message());
        else
            compare(w, me->calls[l], l);
    }
    fattn_context_destroy(w->context);
    _exit(atomic_load(&w->failures) ? 1 : 0);
}

static void one_fork(const worker *me)
{
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(me);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("a child ended with status %d", status);
}

/* A thread that is being created holds locks of the sanitizer's run time that a child cannot
 * release, so the first fork waits until all of them have computed. */
static void wait_for_load(int threads)
{
    for (int i = 0; i < threads; i++)
        while (atomic_load(&workers[i].rounds) < LINES) sched_yield();
}

static void test_fork_under_load(void **state)
{
    (void)state;
    enum { LOAD = 3 };
    const char *text = getenv("FATTN_FORKS");
    const int forks = text ? atoi(text) : getenv("FATTN_TEST_FULL") ? 1000 : 40;
    pthread_t threads[LOAD];
    if (UNDER_TSAN) {
        printf("not run: fork under load (the thread sanitizer allows no threads in children)\n");
        skip();
    }
    start_work(&shared);
    for (int i = 0; i < LOAD + 1; i++) start_worker(&workers[i], &shared, i);
    run_one(&workers[LOAD], 0, 1); /* the pool runs before the first fork */
    run_threads(LOAD, until_stopped, threads);
    wait_for_load(LOAD);
    for (int i = 0; i < forks; i++) one_fork(&workers[LOAD]);
    atomic_store(&shared.stop, true);
    for (int i = 0; i < LOAD; i++) pthread_join(threads[i], NULL);
    run_one(&workers[LOAD], 0, 0); /* the parent goes on */
    for (int i = 0; i < LOAD + 1; i++) end_worker(&workers[i]);
    printf("%d forks during %ld runs\n", forks, atomic_load(&shared.runs));
    assert_true(atomic_load(&shared.runs) > forks); /* there was a load */
    assert_int_equal(atomic_load(&shared.failures), 0);
    end_work(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads_one_context),
        cmocka_unit_test(test_messages_belong_to_threads),
        cmocka_unit_test(test_fork_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
