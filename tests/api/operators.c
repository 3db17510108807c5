/* SPDX-License-Identifier: Apache-2.0 */
/* Operators and fields by name: the family's prefix and older spellings count, parts of a name do
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "fattn/fattn.h"

static void operators_by_name(void **state)
{
    (void)state;
    int count = 0;
    const fattn_operator *list = fattn_operators(&count);
    assert_int_equal(count, 10);
    assert_ptr_equal(fattn_operators(NULL), list);
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "npu_%s", list[i].name);
        assert_ptr_equal(fattn_operator_find(list[i].name), &list[i]);
        assert_ptr_equal(fattn_operator_find(name), &list[i]);
        name[strlen(name) - 1] = '\0';
        assert_null(fattn_operator_find(name));
    }
    assert_null(fattn_operator_find("npu_npu_fusion_attention"));
    assert_null(fattn_operator_find(""));
    assert_null(fattn_operator_find(NULL));
}

static const char *field_name(const char *op, const char *name)
{
    const fattn_field *field = fattn_field_find(fattn_operator_find(op), name);
    return field ? field->name : "(none)";
}

static void fields_by_name_and_alias(void **state)
{
    (void)state;
    assert_string_equal(field_name("fusion_attention", "head_num"), "head_num");
    assert_string_equal(field_name("fusion_attention", "scale_value"), "scale");
    assert_string_equal(field_name("prompt_flash_attention", "scale"), "scale_value");
    assert_string_equal(field_name("prompt_flash_attention", "pre_tockens"), "pre_tokens");
    assert_string_equal(field_name("incre_flash_attention", "block_tables"), "block_table");
}

static void parts_of_a_name_are_no_name(void **state)
{
    (void)state;
    static const char *const parts[] = {"",
                                        " ",
                                        "scal",
                                        "scale_",
                                        "scale_valu",
                                        "value ",
                                        "pre_tocken",
                                        "pre_tockens ",
                                        "pre_tockens next_tockens"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_string_equal(field_name("prompt_flash_attention", parts[i]), "(none)");
    assert_string_equal(field_name("incre_flash_attention", "block_tabl"), "(none)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_by_name),
        cmocka_unit_test(fields_by_name_and_alias),
        cmocka_unit_test(parts_of_a_name_are_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
