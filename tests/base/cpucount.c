/* SPDX-License-Identifier: Apache-2.0 */
/* cpucount.c — quotas of control groups, versions 1 and 2, in a folder tree made here; the affinity
 * mask. */
#include "cm.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpucount.h"
#include "base/cpuinfo.h"

static char root[] = "/tmp/fattn-cgroup-XXXXXX";
static char membership[64];

static void make_dir(const char *path)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static void put(const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int quota(const char *lines)
{
    put("/membership", lines);
    return cpucount_quota(membership, root);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(root)) return -1;
    snprintf(membership, sizeof membership, "%s/membership", root);
    make_dir("/a");
    make_dir("/a/b");
    make_dir("/cpu");
    make_dir("/cpu/job");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void test_version_2(void **state)
{
    (void)state;
    assert_int_equal(quota("0::/a/b\n"), 0); /* no files, no limit */
    put("/a/b/cpu.max", "max 100000\n");
    assert_int_equal(quota("0::/a/b\n"), 0);
    put("/a/b/cpu.max", "250000 100000\n");
    assert_int_equal(quota("0::/a/b\n"), 3); /* rounded up */
    put("/a/cpu.max", "150000 100000\n");
    assert_int_equal(quota("0::/a/b\n"), 2); /* the parent is narrower */
    put("/cpu.max", "50000 100000\n");
    assert_int_equal(quota("0::/a/b\n"), 1); /* the mount point itself, as a container sees it */
    assert_int_equal(quota("0::/\n"), 1);
    put("/cpu.max", "max 100000\n");
    assert_int_equal(quota("0::/gone/away\n"), 0);
    put("/a/cpu.max", "garbage\n");
    assert_int_equal(quota("0::/a\n"), 0);
}

static void test_version_1(void **state)
{
    (void)state;
    put("/cpu/job/cpu.cfs_period_us", "100000\n");
    put("/cpu/job/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(quota("4:cpu,cpuacct:/job\n"), 0);
    put("/cpu/job/cpu.cfs_quota_us", "400000\n");
    assert_int_equal(quota("5:memory:/job\n4:cpuacct,cpu:/job\n"), 4);
    assert_int_equal(quota("4:cpuset:/job\n"), 0); /* another controller whose name begins alike */
}

static void test_garbage(void **state)
{
    (void)state;
    assert_int_equal(quota(""), 0);
    assert_int_equal(quota("nonsense\n:\n::\n"), 0);
    assert_int_equal(cpucount_quota("/does/not/exist", root), 0);
}

static void test_this_machine(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_int_equal(cpucount_affinity(), CPU_COUNT(&all));
    const int threads = cpu_default_threads();
    assert_true(threads >= 1 && threads <= cpucount_affinity());

    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) skip();
    assert_int_equal(cpu_default_threads(), 1);
    sched_setaffinity(0, sizeof all, &all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
