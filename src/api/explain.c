/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c — what a call would do (fattn/explain.h). */
#include "fattn/explain.h"

#include "api/operator.h"
#include "base/mutant.h"

fattn_status fattn_explain(fattn_context *context, const fattn_operator *op, const void *args,
                           fattn_explanation *explanation)
{
    REQUIRE(op, FATTN_E_ARG, "explain: op is NULL; fattn_operator_find() gives one");
    REQUIRE(explanation && MUTANT(130, explanation->size == sizeof *explanation, true), FATTN_E_ARG,
            "explain: explanation->size must be sizeof(fattn_explanation) = %zu",
            sizeof *explanation);
    const fattn_translator *translator = operator_translator(op);
    REQUIRE(translator, FATTN_E_UNSUPPORTED,
            "explain: %s makes no plan, it is computed in one pass; attention operators have one",
            op->name);
    return exec_explain(context, translator, args, explanation);
}
