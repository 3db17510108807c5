/* SPDX-License-Identifier: Apache-2.0 */
/* module.c — fattn._core: the library for Python. Every file adds its part. */
#include "array.h"
#include "call.h"
#include "context.h"
#include "core.h"
#include "errors.h"
#include "info.h"
#include "kv_cache.h"
#include "plan.h"
#include "quantize.h"
#include "table.h"
#include "view.h"

static PyMethodDef functions[] = {
    {"operators", table_describe, METH_NOARGS,
     "operators()\n--\n\nThe library's table of operators and their fields, as dicts."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "fattn._core",
    .m_doc = "The C library of the Ascend flash-attention operators, for Python.",
    .m_size = -1, /* one per process */
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__core(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    if (errors_init() || table_init() || array_init(module) || view_init(module) || context_init(module) ||
        call_init(module) || plan_init(module) || kv_cache_init(module) || quantize_init(module) ||
        info_init(module) || PyModule_AddStringConstant(module, "version", fattn_version())) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
