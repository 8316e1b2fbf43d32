// SPDX-License-Identifier: Apache-2.0
/* slowdown.c - a container gets less processor time while its memory travels */
#include "slowdown.h"

#include <errno.h>

#include "err.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "throttle.h"
#include "wait.h"

#define MEASURE_MS 50
#define KEPT	   (2.0 / 3.0) /* of what it used */

static int find(const struct rb_member *c, struct rb_throttle *ret, struct rb_err *err)
{
	return rb_throttle_find((pid_t)rb_json_int(c->facts, "init_pid", 0), ret, err);
}

/* the first time: what it had goes into the journal before anything is changed */
static int note_limit(struct rb_migration *m, struct rb_member *c,
		      const struct rb_throttle *throttle, struct rb_err *err)
{
	char limit[64];
	int r;

	if (json_object_get(c->facts, "throttle"))
		return 0;
	r = rb_throttle_limit(throttle, limit, sizeof(limit), err);
	if (r < 0)
		return r;
	rb_member_fact(c, "throttle",
		       json_pack("{s:s, s:s}", "knob", throttle->knob, "limit", limit));
	return rb_migration_save(m, err);
}

/* processors that it uses at this moment */
static int measure(struct rb_migration *m, const struct rb_throttle *throttle, double *ret,
		   struct rb_err *err)
{
	uint64_t before = 0, after = 0;
	int64_t began_us = rb_now_us(), us;
	int r = rb_throttle_used_us(throttle, &before, err);

	if (r >= 0)
		r = rb_wait_ms(MEASURE_MS, &m->wait, err);
	if (r >= 0)
		r = rb_throttle_used_us(throttle, &after, err);
	us = rb_now_us() - began_us;
	*ret = us > 0 ? (double)(after - before) / (double)us : 0;
	return r;
}

static int slow_down(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	struct rb_throttle throttle;
	double cpus = 0;
	int r = find(c, &throttle, err);

	if (r >= 0)
		r = note_limit(m, c, &throttle, err);
	if (r >= 0)
		r = measure(m, &throttle, &cpus, err);
	if (r >= 0)
		r = rb_throttle_set(&throttle, cpus * KEPT,
				    rb_json_str(json_object_get(c->facts, "throttle"), "limit", ""),
				    err);
	if (r >= 0)
		rb_info("memory: '%s' gets %.2f processors for now, so that its memory can follow",
			c->name, cpus * KEPT);
	return r;
}

int rb_slowdown_more(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = slow_down(m, c, err);
	return r;
}

int rb_slowdown_end(struct rb_migration *m, struct rb_err *err)
{
	int result = 0;

	rb_each_member (c, m) {
		const json_t *noted = json_object_get(c->facts, "throttle");
		int r = noted ? rb_throttle_restore(rb_json_str(noted, "knob", ""),
						    rb_json_str(noted, "limit", ""), err)
			      : 0;

		if (result == 0)
			result = r;
	}
	return result;
}
