// SPDX-License-Identifier: Apache-2.0
/*
 * strategy_precopy.c - memory travels in rounds while the container runs
 *
 * Each round sends what was written during the one before. What the last one leaves travels while
 * the container is frozen; so the rounds end as soon as that would not take long, or when one more
 * would not leave less. On the target nothing of it is read before the tasks run: they get their
 * pages from the pager (memory/pager.h).
 *
 * The time that a freeze would take now is predicted from the bytes that are dirty, the rate of the
 * last rounds, and what earlier freezes took (predict.h).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "predict.h"
#include "send.h"
#include "slowdown.h"
#include "strategy.h"
#include "sync.h"
#include "wait.h"

enum {
	MAX_DOWNTIME_MS = 100, /* of a request that names none */
	ROUNDS_MAX = 30,
	SHORT_MS = 5,	    /* of sending: what comes next cannot be much shorter */
	USELESS_ROUNDS = 3, /* in a row, each of which left about as much as the one before */
};

#define USEFUL_SHARE 0.8

/* Where the blocks of a round go. */
struct road {
	struct rb_migration *m;
	double limit; /* bytes per ms, 0: none */
	int64_t began_us;
	uint64_t bytes;
};

static int write_block(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		       struct rb_err *err)
{
	struct road *road = arg;
	int r = rb_stream_write(road->m->conn, block, len, wait, err);
	double ahead_ms;

	rb_progress_bytes(road->m);
	road->bytes += len;
	if (r < 0 || road->limit <= 0)
		return r;
	ahead_ms =
		(double)road->bytes / road->limit - (double)(rb_now_us() - road->began_us) / 1000.0;
	if (ahead_ms < 1)
		return 0;
	road->m->held_back_ms += (int64_t)ahead_ms;
	return rb_wait_ms((int64_t)ahead_ms, wait, err);
}

typedef int send_fn(struct rb_memory *memory, const struct rb_memory_sink *sink,
		    const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err);

/* "pages" {"member", "last"}: a stream of blocks follows */
static int send_member(struct rb_migration *m, const struct rb_member *c, bool last, send_fn *send,
		       struct rb_memory_stats *ret, struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	/* --bandwidth is for the time in which others want the link, too */
	int64_t limit = last ? 0 : rb_json_int(m->entry.facts, "bandwidth", 0);
	struct road road = { m, (double)limit / 1000.0, rb_now_us(), 0 };
	struct rb_memory_sink sink = { write_block, &road };
	struct rb_memory_stats stats = {};
	int r;

	json_object_set_new(args, "last", json_boolean(last));
	r = rb_conn_call(m->conn, "pages", args, &m->wait, err);
	if (r >= 0)
		r = send(c->memory, &sink, &m->wait, &stats, err);
	if (r >= 0)
		r = rb_stream_end(m->conn, &m->wait, err);
	ret->pages += stats.pages;
	ret->zero_pages += stats.zero_pages;
	ret->bytes += stats.bytes;
	return r < 0 ? r : rb_conn_reply(m->conn, NULL, &m->wait, err);
}

static int send_blocks(struct rb_migration *m, bool last, send_fn *send,
		       struct rb_memory_stats *ret, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = send_member(m, c, last, send, ret, err);
	return r;
}

static int pending(struct rb_migration *m, uint64_t *ret_bytes, struct rb_err *err)
{
	int r = 0;

	*ret_bytes = 0;
	rb_each_member (c, m) {
		uint64_t bytes = 0;

		if (r >= 0)
			r = rb_memory_pending(c->memory, &bytes, err);
		*ret_bytes += bytes;
	}
	return r;
}

/* What is known after a round. */
struct outlook {
	double fixed_ms;     /* of a freeze without any memory */
	uint64_t dirty;	     /* bytes, written during the round */
	double rate;	     /* of sending, bytes per ms */
	double memory_ms;    /* to send what is dirty */
	double predicted_ms; /* downtime if it were frozen now */
};

static void note_round(struct rb_migration *m, const struct rb_memory_stats *stats, int64_t us,
		       const struct outlook *outlook)
{
	json_t *rounds = json_object_get(m->entry.facts, "rounds");

	if (!rounds) {
		rounds = json_array();
		rb_migration_fact(m, "rounds", rounds);
	}
	json_array_append_new(
		rounds,
		json_pack("{s:I, s:I, s:I, s:I, s:f}", "bytes", (json_int_t)stats->bytes, "pages",
			  (json_int_t)stats->pages, "dirty_bytes", (json_int_t)outlook->dirty,
			  "dirty_rate",
			  (json_int_t)(us > 0 ? outlook->dirty * 1000000 / (uint64_t)us : 0), "ms",
			  (double)(us / 100) / 10.0));
	rb_migration_fact(m, "predicted_ms",
			  json_integer((json_int_t)(outlook->predicted_ms + 0.5)));
	rb_info("memory: round %zu: %llu pages in %lld ms, %llu KiB dirty, %.0f ms predicted",
		json_array_size(rounds), (unsigned long long)stats->pages, (long long)(us / 1000),
		(unsigned long long)(outlook->dirty >> 10), outlook->predicted_ms);
}

static int one_round(struct rb_migration *m, struct outlook *outlook, struct rb_err *err)
{
	struct rb_memory_stats stats = {};
	int64_t began_us = rb_now_us(), held_back_ms = m->held_back_ms, us, sending_us;
	int r = send_blocks(m, false, rb_memory_round, &stats, err);

	us = rb_now_us() - began_us;
	sending_us = us - (m->held_back_ms - held_back_ms) * 1000;
	if (r >= 0)
		r = pending(m, &outlook->dirty, err);
	if (r < 0)
		return r;
	/* small rounds tell about latency, not about the rate */
	if (outlook->rate <= 0 || stats.bytes > (4U << 20))
		outlook->rate = sending_us > 0 ? (double)stats.bytes * 1000.0 / (double)sending_us
					       : 1e6;
	outlook->memory_ms = outlook->rate > 0 ? (double)outlook->dirty / outlook->rate : 0;
	outlook->predicted_ms = outlook->fixed_ms + rb_predict_beside_ms(outlook->memory_ms);
	note_round(m, &stats, us, outlook);
	return 0;
}

static int begin(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = rb_memory_open(rb_json_str(c->facts, "freezer", ""),
					   (pid_t)rb_json_int(c->facts, "init_pid", 0),
					   RB_TRACK_AUTO, &c->memory, err);
	return r;
}

/* Rounds do not help any more. Return: 1 to go on with rounds, 0 to freeze now, negative errno. */
static int not_converging(struct rb_migration *m, const struct outlook *outlook, struct rb_err *err)
{
	const char *what = rb_json_str(m->entry.facts, "on_no_convergence", "force");
	int r;

	if (strcmp(what, "abort") == 0)
		return rb_err_code(
			err, RB_E_REFUSED, -EBUSY,
			"'%s' writes its memory faster than it can be sent (%.0f ms of "
			"downtime predicted): allow more with --max-downtime, or slow it "
			"down with --on-no-convergence throttle",
			m->entry.container, outlook->predicted_ms);
	if (strcmp(what, "throttle") != 0)
		return 0;
	r = rb_slowdown_more(m, err);
	return r < 0 ? r : 1;
}

static bool is_short(const struct rb_migration *m, const struct outlook *outlook)
{
	double limit_ms = (double)rb_json_int(m->entry.facts, "max_downtime_ms", MAX_DOWNTIME_MS);

	return outlook->memory_ms <= SHORT_MS || outlook->predicted_ms <= limit_ms;
}

static int rounds(struct rb_migration *m, struct rb_err *err)
{
	struct outlook outlook = { .fixed_ms = rb_predict_fixed_ms(m) };
	int useless = 0, r = begin(m, err);

	for (int i = 0; r >= 0 && i < ROUNDS_MAX; i++) {
		double before_ms = outlook.memory_ms;

		r = one_round(m, &outlook, err);
		if (r < 0 || is_short(m, &outlook))
			break;
		useless = i > 0 && outlook.memory_ms > before_ms * USEFUL_SHARE ? useless + 1 : 0;
		if (useless < USELESS_ROUNDS && i + 1 < ROUNDS_MAX)
			continue;
		useless = 0;
		r = not_converging(m, &outlook, err);
		if (r <= 0)
			break;
	}
	/* what changed of the files meanwhile */
	return r < 0 ? r : rb_sync_round(m, err);
}

static int last_round(struct rb_migration *m, struct rb_err *err)
{
	struct rb_memory_stats stats = {};
	int r = send_blocks(m, false, rb_memory_round, &stats, err);

	/* what is slowed down takes longer to stand still */
	return r < 0 ? r : rb_slowdown_end(m, err);
}

static int frozen(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		char skip[600];

		snprintf(skip, sizeof(skip), "%s/skip", c->work_dir);
		if (r >= 0)
			r = rb_memory_freeze(c->memory, err);
		if (r >= 0)
			r = rb_memory_hide(c->memory, skip, err);
	}
	return r;
}

static int rest(struct rb_migration *m, struct rb_err *err)
{
	struct rb_memory_stats stats = {};
	int64_t began_us = rb_now_us();
	int r = send_blocks(m, true, rb_memory_send_last, &stats, err);

	rb_migration_fact(m, "last_ms", json_integer((rb_now_us() - began_us + 500) / 1000));
	rb_migration_fact(m, "last_bytes", json_integer((json_int_t)stats.bytes));
	return r;
}

const struct rb_strategy rb_strategy_precopy = {
	.name = "pre-copy",
	.lazy = true,
	.rounds = rounds,
	.last_round = last_round,
	.frozen = frozen,
	.rest = rest,
};
