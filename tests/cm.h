/* SPDX-License-Identifier: Apache-2.0 */
/* cm.h — cmocka with the headers it wants before it. */
#ifndef FATTN_TESTS_CM_H
#define FATTN_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
