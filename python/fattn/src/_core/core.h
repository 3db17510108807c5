/* SPDX-License-Identifier: Apache-2.0 */
/* core.h — what every file of the extension begins with: Python's limited API and the library. */
#ifndef FATTN_CORE_H
#define FATTN_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include <fattn/fattn.h>

#if !defined(Py_LIMITED_API) || Py_LIMITED_API + 0 > 0x030b0000
#error "the extension is one binary for Python 3.11 and later: define Py_LIMITED_API=0x030b0000"
#endif

#endif
