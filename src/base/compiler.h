/* SPDX-License-Identifier: Apache-2.0 */
/* compiler.h — the only home of compiler extensions. */
#ifndef FATTN_BASE_COMPILER_H
#define FATTN_BASE_COMPILER_H

#define FATTN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* One breath of a spinning thread. */
#if defined(__x86_64__)
#define CPU_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CPU_PAUSE() __asm__ volatile("yield")
#else
#define CPU_PAUSE() ((void)0)
#endif

#endif
