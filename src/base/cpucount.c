/* SPDX-License-Identifier: Apache-2.0 */
/* cpucount.c — how many CPUs this process may use: the smaller of the affinity mask and the control
 * group's quota (version 2: "cpu.max" with "quota period"; version 1: cfs_quota_us and
 * cfs_period_us in two files). A group's parents limit it too, so the walk goes up to the mount
 * point. */
#include "base/cpucount.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cpuinfo.h"
#include "base/ints.h"
#include "base/mutant.h"

enum { PATH_BYTES = 1024, LINE_BYTES = 1024, THREADS_MAX = 1024 };

int cpucount_affinity(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t can name */
    return online > 0 ? (int)i64_min(online, THREADS_MAX) : 1;
}

/* First line of mount + group + "/" + name without its end; false when it cannot be read. */
static bool read_line(char *line, const char *mount, const char *group, const char *name)
{
    char path[PATH_BYTES];
    const int length = snprintf(path, sizeof path, "%s%s/%s", mount, group, name);
    if (length < 0 || length >= (int)sizeof path) return false;

    FILE *file = fopen(path, "re");
    if (!file) return false;
    const bool read = fgets(line, LINE_BYTES, file) != NULL;
    fclose(file);
    return read;
}

static int whole_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) return 0; /* "max" and -1: unlimited */
    return (int)i64_min(i64_div_up(quota, period), THREADS_MAX);
}

/* The limit of one group by itself; 0 = none. */
static int group_cpus(const char *mount, const char *group)
{
    char line[LINE_BYTES];
    long long quota = 0, period = 0;

    if (read_line(line, mount, group, "cpu.max"))
        return sscanf(line, "%lld %lld", &quota, &period) == 2 ? whole_cpus(quota, period) : 0;
    if (!read_line(line, mount, group, "cpu.cfs_quota_us") || sscanf(line, "%lld", &quota) != 1)
        return 0;
    if (!read_line(line, mount, group, "cpu.cfs_period_us") || sscanf(line, "%lld", &period) != 1)
        return 0;
    return whole_cpus(quota, period);
}

static int smaller_limit(int a, int b)
{
    if (a == 0 || b == 0) return a + b;
    return MUTANT(3, a<b, a> b) ? a : b;
}

/* The limit of a group and its parents up to the mount. Cuts `group` short on the way. */
static int walk_up(const char *mount, char *group)
{
    int limit = 0;
    for (;;) {
        limit = smaller_limit(limit, group_cpus(mount, group));
        char *slash = strrchr(group, '/');
        if (!slash) return limit;
        *slash = '\0';
    }
}

/* true when the comma list contains exactly "cpu". */
static bool lists_cpu(const char *controllers)
{
    for (const char *at = controllers; at; at = strchr(at, ',')) {
        if (*at == ',') at++;
        if (strncmp(at, "cpu", 3) == 0 && (at[3] == ',' || at[3] == '\0')) return true;
    }
    return false;
}

/* One line "id:controllers:/group". */
static int line_limit(char *line, const char *mount)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return 0;
    controllers++;
    *group++ = '\0';
    if (strcmp(group, "/") == 0) group[0] = '\0';

    if (controllers[0] == '\0') return walk_up(mount, group); /* version 2 */
    if (!lists_cpu(controllers)) return 0;

    char mount_v1[PATH_BYTES]; /* e.g. /sys/fs/cgroup/cpu, mostly a link to cpu,cpuacct */
    const int length = snprintf(mount_v1, sizeof mount_v1, "%s/cpu", mount);
    return length > 0 && length < (int)sizeof mount_v1 ? walk_up(mount_v1, group) : 0;
}

int cpucount_quota(const char *membership, const char *mount)
{
    char line[LINE_BYTES];
    int limit = 0;
    FILE *file = fopen(membership, "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) limit = smaller_limit(limit, line_limit(line, mount));
    fclose(file);
    return limit;
}

int cpu_default_threads(void)
{
    const int quota = cpucount_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    const int cpus = smaller_limit(cpucount_affinity(), quota);
    return cpus < THREADS_MAX ? cpus : THREADS_MAX;
}
