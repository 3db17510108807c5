/* SPDX-License-Identifier: Apache-2.0 */
/* cpucount.h — the parts of cpu_default_threads() (cpuinfo.h), open for tests. */
#ifndef FATTN_BASE_CPUCOUNT_H
#define FATTN_BASE_CPUCOUNT_H

/* CPUs that the control groups allow, rounded up; 0 = no limit found. `membership` is a file like
 * /proc/self/cgroup, `mount` a folder like /sys/fs/cgroup; versions 1 and 2. */
int cpucount_quota(const char *membership, const char *mount);

/* CPUs in the calling thread's affinity mask, at least 1. */
int cpucount_affinity(void);

#endif
