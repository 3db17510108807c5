/* SPDX-License-Identifier: Apache-2.0 */
/* log.c — once per process and place, to whoever listens. */
#include "cm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/context.h"

typedef struct heard {
    int count;
    char place[64], sentence[1024];
} heard;

static void hear(void *self, const char *place, const char *sentence)
{
    heard *h = self;
    h->count++;
    strncpy(h->place, place, sizeof h->place - 1);
    strncpy(h->sentence, sentence, sizeof h->sentence - 1);
}

static fattn_context *listening(heard *h)
{
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.warn = h ? hear : NULL;
    options.warn_self = h;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    context->log = false; /* whatever the environment of this run says */
    return context;
}

static void test_once_per_place(void **state)
{
    (void)state;
    heard h = {0};
    fattn_context *deaf = listening(NULL), *first = listening(&h), *second = listening(&h);
    warn_reset();
    context_warn(deaf, WARN_HIDDEN_WINDOW, "nobody hears, nothing is used up");
    context_warn(first, WARN_HIDDEN_WINDOW, "key %d", 7);
    assert_int_equal(h.count, 1);
    assert_string_equal(h.place, "hidden_window");
    assert_string_equal(h.sentence, "key 7");
    context_warn(first, WARN_HIDDEN_WINDOW, "again");
    context_warn(second, WARN_HIDDEN_WINDOW, "again"); /* the process, not the context */
    assert_int_equal(h.count, 1);
    context_warn(second, WARN_Q_LENGTH_CLAMPED, "another place");
    assert_int_equal(h.count, 2);
    warn_reset();
    context_warn(first, WARN_HIDDEN_WINDOW, "anew");
    assert_int_equal(h.count, 3);
    fattn_context_destroy(deaf);
    fattn_context_destroy(first);
    fattn_context_destroy(second);
}

/* What stands on stderr between the two, without a callback. */
static const char *said(unsigned record, const char *sentence)
{
    static char text[256];
    fattn_context *context = listening(NULL);
    FILE *file = tmpfile();
    assert_non_null(file);
    const int kept = dup(2);
    context->log = true;
    context->record = record;
    warn_reset();
    dup2(fileno(file), 2);
    context_warn(context, WARN_HIDDEN_WINDOW, "%s", sentence);
    dup2(kept, 2);
    close(kept);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    fattn_context_destroy(context);
    return text;
}

/* Beside a log of calls a warning is a comment of one line, whatever it quotes. */
static void test_a_comment_in_a_log(void **state)
{
    (void)state;
    assert_string_equal(said(0, "key 7"), "fattn: warning (hidden_window): key 7\n");
    assert_string_equal(said(RECORD_DUMP, "key 7"), "fattn: warning (hidden_window): key 7\n");
    assert_string_equal(said(RECORD_CALL, "key 7"), "# fattn: warning (hidden_window): key 7\n");
    assert_string_equal(said(RECORD_PLAN, "a\nb"), "# fattn: warning (hidden_window): a?b\n");
}

/* A call that is refused has warned of nothing; one that goes through says all, in order, once. */
static void test_held_until_settled(void **state)
{
    (void)state;
    heard h = {0};
    fattn_context *context = listening(&h);
    warn_list outer, inner;
    warn_reset();
    warn_hold(&outer);
    context_warn(context, WARN_HIDDEN_WINDOW, "refused %d", 1);
    warn_settle(&outer, context, FATTN_E_ARG);
    assert_int_equal(h.count, 0);

    warn_hold(&outer);
    context_warn(context, WARN_HIDDEN_WINDOW, "first %d", 2);
    context_warn(context, WARN_HIDDEN_WINDOW, "the same place");
    context_warn(context, WARN_LAYOUT_ALIAS, "second");
    assert_int_equal(h.count, 0);
    warn_hold(&inner); /* a call inside this one, by an allocator or executor */
    context_warn(context, WARN_LAYOUT_ALIAS, "inner");
    warn_settle(&inner, context, FATTN_E_SHAPE);
    warn_settle(&outer, context, FATTN_OK);
    assert_int_equal(h.count, 2);
    assert_string_equal(h.place, "layout_alias");
    assert_string_equal(h.sentence, "second");

    context_warn(context, WARN_LAYOUT_ALIAS, "used up");
    assert_int_equal(h.count, 2);
    context_warn(context, WARN_Q_LENGTH_CLAMPED, "nothing is held any more");
    assert_int_equal(h.count, 3);
    fattn_context_destroy(context);
}

/* What a call inside a held one says goes to the outer list; a released list may be said later, or
 * never. */
static void test_lists_inside_lists(void **state)
{
    (void)state;
    heard h = {0};
    fattn_context *context = listening(&h);
    warn_list outer, inner;
    warn_reset();
    for (int said = 0; said <= 1; said++) {
        warn_hold(&outer);
        warn_hold(&inner);
        context_warn(context, WARN_HIDDEN_WINDOW, "key %d", 7);
        warn_settle(&inner, context, FATTN_OK);
        warn_release(&outer);
        assert_int_equal(h.count, 0);
        if (said) warn_say(&outer, context);
    }
    assert_int_equal(h.count, 1);
    assert_string_equal(h.sentence, "key 7");
    context_warn(context, WARN_LAYOUT_ALIAS, "at once");
    assert_int_equal(h.count, 2);
    fattn_context_destroy(context);
}

/* More than a list has room for: the rest is not used up. */
static void test_what_has_no_room_comes_later(void **state)
{
    (void)state;
    heard h = {0};
    fattn_context *context = listening(&h);
    warn_list list;
    warn_reset();
    for (int round = 1; round <= 2; round++) {
        warn_hold(&list);
        for (int i = 0; i < WARN_HELD_MAX + 1; i++)
            context_warn(context, (warn_place)i, "place %d", i);
        warn_settle(&list, context, FATTN_OK);
        assert_int_equal(h.count, round == 1 ? WARN_HELD_MAX : WARN_HELD_MAX + 1);
    }
    fattn_context_destroy(context);
}

static void test_names_are_distinct(void **state)
{
    (void)state;
    for (int i = 0; i < WARN_PLACE_COUNT; i++) {
        assert_true(strlen(warn_place_name((warn_place)i)) > 3);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(warn_place_name((warn_place)i), warn_place_name((warn_place)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_per_place),
        cmocka_unit_test(test_a_comment_in_a_log),
        cmocka_unit_test(test_held_until_settled),
        cmocka_unit_test(test_lists_inside_lists),
        cmocka_unit_test(test_what_has_no_room_comes_later),
        cmocka_unit_test(test_names_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
