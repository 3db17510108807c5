/* SPDX-License-Identifier: Apache-2.0 */
/* mutant.h — tests of tests: a build with -DFATTN_MUTANT=n breaks exactly one place on purpose, and
 * the suite must notice (tests/mutants/). In a normal build the broken side is never compiled in.
 */
#ifndef FATTN_BASE_MUTANT_H
#define FATTN_BASE_MUTANT_H

#ifndef FATTN_MUTANT
#define FATTN_MUTANT 0
#endif

#define MUTANT(number, normal, broken) (FATTN_MUTANT == (number) ? (broken) : (normal))

#endif
