/* SPDX-License-Identifier: Apache-2.0 */
/* strict_infer_quant.c — parameters of quantised calls in a call that is not one (spec
 * inference 11.5).
 *
 * Quantised calls are refused before anything is read, as not computed yet. What the device
 * refuses, too, gets a sentence of its own here, by the names of the operator's fields. */
#include <string.h>

#include "api/strict_infer.h"
#include "base/mutant.h"
#include "core/element.h"

/* The tensor of that name; NULL when the operator has no such field or it is absent. */
static const fattn_tensor *tensor_of(const fattn_operator *op, const void *args, const char *name)
{
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        const bool tensor = f->kind == FATTN_FIELD_TENSOR_IN || f->kind == FATTN_FIELD_TENSOR_OUT;
        if (tensor && strcmp(f->name, name) == 0)
            return *(const fattn_tensor *const *)(const void *)((const char *)args + f->offset);
    }
    return NULL;
}

static bool is_float(const fattn_tensor *t) { return t && element_is_float(t->dtype); }

static fattn_status check_query(const fattn_operator *op, const void *args)
{
    static const char *const names[] = {"deq_scale1", "dequant_scale1", "quant_scale1",
                                        "deq_scale2", "dequant_scale2"};
    const fattn_tensor *query = tensor_of(op, args, "query");
    for (size_t i = 0; is_float(query) && i < sizeof names / sizeof names[0]; i++)
        REQUIRE(!tensor_of(op, args, names[i]), FATTN_E_ARG,
                "%s: given with query of dtype %s; the device takes it with an int8 query only: "
                "leave it out",
                names[i], fattn_dtype_name(query->dtype));
    return FATTN_OK;
}

static fattn_status check_output(const fattn_operator *op, const void *args)
{
    static const char *const names[] = {"quant_scale2", "quant_offset2", "quant_scale_out",
                                        "quant_offset_out"};
    const fattn_tensor *out = tensor_of(op, args, "attention_out");
    for (size_t i = 0; is_float(out) && i < sizeof names / sizeof names[0]; i++)
        REQUIRE(!MUTANT(142, tensor_of(op, args, names[i]), NULL), FATTN_E_ARG,
                "%s: given with attention_out of dtype %s; the device takes it with an int8 output "
                "only: leave it "
                "out",
                names[i], fattn_dtype_name(out->dtype));
    return FATTN_OK;
}

fattn_status infer_not_quantised(const fattn_operator *op, const void *args, fattn_status status)
{
    TRY(check_query(op, args));
    TRY(check_output(op, args));
    return status;
}
