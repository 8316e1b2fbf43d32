// SPDX-License-Identifier: Apache-2.0
/* throttle.c - a container's CPU quota (throttle.h) */
#include "throttle.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"

enum { PERIOD_US = 100000, QUOTA_MIN_US = 1000 };

static void find_file(const struct rb_cgroup_place *place, const char *name, char *ret, size_t size)
{
	ret[0] = '\0';
	for (int i = 0; i < place->count; i++)
		if (rb_path(ret, size, "%s/%s", place->dirs[i].path, name) == 0 &&
		    access(ret, R_OK) == 0)
			return;
	ret[0] = '\0';
}

static bool is_v2(const char *knob)
{
	const char *slash = strrchr(knob, '/');

	return slash && strcmp(slash, "/cpu.max") == 0;
}

int rb_throttle_find(pid_t pid, struct rb_throttle *ret, struct rb_err *err)
{
	struct rb_cgroup_place place;
	int r = rb_cgroup_place(pid, &place, err);

	if (r < 0)
		return r;
	find_file(&place, "cpu.cfs_quota_us", ret->knob, sizeof(ret->knob));
	find_file(&place, "cpuacct.usage", ret->account, sizeof(ret->account));
	if (!*ret->knob) {
		find_file(&place, "cpu.max", ret->knob, sizeof(ret->knob));
		find_file(&place, "cpu.stat", ret->account, sizeof(ret->account));
	}
	return *ret->knob && *ret->account
		       ? 0
		       : rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
				     "the container's cgroup has no CPU quota: it cannot be slowed "
				     "down");
}

/* a line without its end */
static int read_text(const char *path, char *ret, size_t size, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {};
	int r = rb_read_file(path, 0, &text, err);

	if (r < 0)
		return r;
	snprintf(ret, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
	return 0;
}

int rb_throttle_limit(const struct rb_throttle *throttle, char *ret, size_t size,
		      struct rb_err *err)
{
	return read_text(throttle->knob, ret, size, err);
}

int rb_throttle_used_us(const struct rb_throttle *throttle, uint64_t *ret, struct rb_err *err)
{
	char text[64];
	int r = read_text(throttle->account, text, sizeof(text), err);

	if (r < 0)
		return r;
	/* "usage_usec 4711", or nanoseconds alone */
	*ret = is_v2(throttle->knob) ? strtoull(text + strcspn(text, " "), NULL, 10)
				     : strtoull(text, NULL, 10) / 1000;
	return 0;
}

/* version 2 has "<quota> <period>" or "max <period>"; version 1 a quota, -1: none, for a period of
 * its own, which Docker sets too */
static long period_of(const char *knob)
{
	char path[4096], text[32];
	const char *slash = strrchr(knob, '/');

	if (!slash ||
	    rb_path(path, sizeof(path), "%.*s/cpu.cfs_period_us", (int)(slash - knob), knob) < 0 ||
	    read_text(path, text, sizeof(text), NULL) < 0)
		return PERIOD_US;
	return atol(text) > 0 ? atol(text) : PERIOD_US;
}

int rb_throttle_set(const struct rb_throttle *throttle, double cpus, const char *limit,
		    struct rb_err *err)
{
	bool v2 = is_v2(throttle->knob);
	long period = v2 ? atol(limit + strcspn(limit, " ")) : period_of(throttle->knob);
	long quota, allowed = atol(limit);
	char text[64];

	if (period <= 0)
		period = PERIOD_US;
	quota = (long)(cpus * (double)period);
	if (quota < QUOTA_MIN_US || quota < period / 100)
		quota = QUOTA_MIN_US > period / 100 ? QUOTA_MIN_US : period / 100;
	/* "max" and -1 are no numbers above 0 */
	if (allowed > 0 && quota > allowed)
		quota = allowed;
	snprintf(text, sizeof(text), v2 ? "%ld %ld" : "%ld", quota, period);
	return rb_write_knob(throttle->knob, text, err);
}

int rb_throttle_restore(const char *knob, const char *limit, struct rb_err *err)
{
	if (access(knob, F_OK) < 0 && errno == ENOENT)
		return 0;
	return rb_write_knob(knob, limit, err);
}
