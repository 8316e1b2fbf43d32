// SPDX-License-Identifier: Apache-2.0
/*
 * rounds.c - memory on its way to the target, over the conversation of the migration
 *
 * The time that a freeze would take now is predicted from the bytes that are dirty, the rate of the
 * last rounds, and what earlier freezes took (predict.h).
 */
#include "rounds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "fault.h"
#include "json.h"
#include "lanes.h"
#include "log.h"
#include "migration.h"
#include "pace.h"
#include "predict.h"
#include "send.h"
#include "strategy.h"
#include "sync.h"
#include "wait.h"

enum {
	MAX_DOWNTIME_MS = 100, /* of a request that names none */
	SHORT_MS = 5,	       /* of sending: what comes next cannot be much shorter */
	FILE_ROUNDS_MAX = 8,   /* in a row */
	SHORT_FILES_MS = 20,
};

#define USEFUL_SHARE 0.8

/* a round of less goes over the conversation: lanes would cost more than they save */
#define LANES_MIN_BYTES ((uint64_t)16 << 20)

/* Where the blocks of a round go. */
struct road {
	struct rb_migration *m;
	struct rb_pace pace;
	bool lanes; /* over these, until they are told that the round has ended */
};

static int write_somewhere(struct road *road, const void *block, size_t len, bool each,
			   const struct rb_wait *wait, struct rb_err *err)
{
	int r;

	if (!road->lanes)
		r = rb_stream_write(road->m->conn, block, len, wait, err);
	else if (each)
		r = rb_lanes_write_each(road->m, block, len, wait, err);
	else
		r = rb_lanes_write(road->m, block, len, wait, err);
	rb_progress_bytes(road->m);
	if (r >= 0)
		r = rb_pace_wait(&road->pace, len, wait, err);
	if (r > 0)
		road->m->held_back_ms += r;
	return r < 0 ? r : 0;
}

static int write_block(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		       struct rb_err *err)
{
	return write_somewhere(arg, block, len, false, wait, err);
}

static int write_first(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		       struct rb_err *err)
{
	return write_somewhere(arg, block, len, true, wait, err);
}

static int end_lanes(struct road *road, const struct rb_wait *wait, struct rb_err *err)
{
	bool open = road->lanes;

	road->lanes = false;
	return open ? rb_lanes_end(road->m, wait, err) : 0;
}

/* The target reads the conversation when the lanes have ended. */
static int write_last(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		      struct rb_err *err)
{
	int r = end_lanes(arg, wait, err);

	return r < 0 ? r : write_somewhere(arg, block, len, false, wait, err);
}

typedef int send_fn(struct rb_memory *memory, const struct rb_memory_sink *sink,
		    const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err);

/* "pages" {"member", "last", "lanes"}: a stream of blocks follows */
static int send_member(struct rb_migration *m, const struct rb_member *c, bool last, send_fn *send,
		       struct rb_memory_stats *ret, struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	/* --bandwidth is for the time in which others want the link, too */
	int64_t limit = last ? 0 : rb_json_int(m->entry.facts, "bandwidth", 0);
	bool lanes = m->lanes && c->expected_bytes >= LANES_MIN_BYTES;
	struct road road = { .m = m, .lanes = lanes };
	struct rb_memory_sink sink = { write_block, &road, .held_back = limit > 0 };
	struct rb_memory_stats stats = {};
	int r;

	if (lanes) {
		sink.write_first = write_first;
		sink.write_last = write_last;
		json_object_set_new(args, "lanes", json_integer(rb_lanes_count(m)));
	}
	rb_pace_begin(&road.pace, limit);
	json_object_set_new(args, "last", json_boolean(last));
	r = rb_conn_call(m->conn, "pages", args, &m->wait, err);
	if (r >= 0)
		r = send(c->memory, &sink, &m->wait, &stats, err);
	if (r >= 0)
		r = end_lanes(&road, &m->wait, err);
	if (r >= 0)
		r = rb_stream_end(m->conn, &m->wait, err);
	ret->pages += stats.pages;
	ret->zero_pages += stats.zero_pages;
	ret->raw_bytes += stats.raw_bytes;
	ret->bytes += stats.bytes;
	if (r >= 0)
		r = rb_conn_reply(m->conn, NULL, &m->wait, err);
	return r >= 0 && lanes ? rb_lanes_settle(m, &m->wait, err) : r;
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

static int pending(struct rb_migration *m, struct rb_outlook *outlook, struct rb_err *err)
{
	int r = 0;

	outlook->dirty = 0;
	outlook->shared_ms = 0;
	rb_each_member (c, m) {
		uint64_t bytes = 0;
		int64_t us = 0;

		if (r >= 0)
			r = rb_memory_pending(c->memory, &bytes, &us, err);
		c->expected_bytes = bytes;
		outlook->dirty += bytes;
		outlook->shared_ms += (double)us / 1000.0;
	}
	return r;
}

/* All of this goes on beside the dump. */
static void predict(struct rb_migration *m, struct rb_outlook *outlook)
{
	outlook->predicted_ms =
		outlook->fixed_ms +
		rb_predict_beside_ms(outlook->memory_ms + outlook->shared_ms + outlook->files_ms);
	rb_migration_fact(m, "predicted_ms",
			  json_integer((json_int_t)(outlook->predicted_ms + 0.5)));
}

static void note_round(struct rb_migration *m, const struct rb_memory_stats *stats, int64_t us,
		       const struct rb_outlook *outlook)
{
	json_t *rounds = json_object_get(m->entry.facts, "rounds");

	if (!rounds) {
		rounds = json_array();
		rb_migration_fact(m, "rounds", rounds);
	}
	json_array_append_new(
		rounds,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "bytes", (json_int_t)stats->bytes,
			  "raw_bytes", (json_int_t)stats->raw_bytes, "pages",
			  (json_int_t)stats->pages, "dirty_bytes", (json_int_t)outlook->dirty,
			  "dirty_rate",
			  (json_int_t)(us > 0 ? outlook->dirty * 1000000 / (uint64_t)us : 0), "ms",
			  (double)(us / 100) / 10.0));
	rb_info("memory: round %zu: %llu pages in %lld ms, %llu KiB dirty, %.0f ms predicted",
		json_array_size(rounds), (unsigned long long)stats->pages, (long long)(us / 1000),
		(unsigned long long)(outlook->dirty >> 10), outlook->predicted_ms);
}

int rb_round(struct rb_migration *m, struct rb_outlook *outlook, struct rb_err *err)
{
	struct rb_memory_stats stats = {};
	int64_t began_us = rb_now_us(), held_back_ms = m->held_back_ms, us, sending_us;
	int r = send_blocks(m, false, rb_memory_round, &stats, err);

	us = rb_now_us() - began_us;
	sending_us = us - (m->held_back_ms - held_back_ms) * 1000;
	if (r >= 0)
		r = pending(m, outlook, err);
	if (r < 0)
		return r;
	/* small rounds tell about latency, not about the rate */
	if (outlook->rate <= 0 || stats.raw_bytes > (4U << 20))
		outlook->rate = sending_us > 0
					? (double)stats.raw_bytes * 1000.0 / (double)sending_us
					: 1e6;
	outlook->memory_ms = outlook->rate > 0 ? (double)outlook->dirty / outlook->rate : 0;
	predict(m, outlook);
	note_round(m, &stats, us, outlook);
	return 0;
}

int rb_rounds_begin(struct rb_migration *m, enum rb_track_method method, struct rb_outlook *ret,
		    struct rb_err *err)
{
	int r = 0;

	*ret = (struct rb_outlook){ .fixed_ms = rb_predict_fixed_ms(m) };
	/* what changed of the files while they travelled: it takes its time, in which memory is
	 * written, too */
	r = rb_rounds_files(m, ret, err);
	if (r >= 0 && method != RB_TRACK_NONE)
		r = rb_lanes_open(m, err);
	if (m->lanes && r >= 0)
		r = rb_fault_point("source.memory.lanes", &m->wait, err);
	rb_each_member (c, m) {
		c->expected_bytes = UINT64_MAX;
		if (r >= 0)
			r = rb_memory_open(rb_json_str(c->facts, "freezer", ""),
					   (pid_t)rb_json_int(c->facts, "init_pid", 0), method,
					   &c->memory, err);
	}
	return r;
}

bool rb_round_is_enough(const struct rb_migration *m, const struct rb_outlook *outlook)
{
	double limit_ms = (double)rb_json_int(m->entry.facts, "max_downtime_ms", MAX_DOWNTIME_MS);

	return outlook->memory_ms <= SHORT_MS || outlook->predicted_ms <= limit_ms;
}

static int file_rounds(struct rb_migration *m, double *ret_last_ms, struct rb_err *err)
{
	double ms = 0;
	int r = 0;

	for (int i = 0; r >= 0 && i < FILE_ROUNDS_MAX; i++) {
		double before_ms = ms;
		int64_t began_us = rb_now_us();

		r = rb_sync_round(m, err);
		ms = (double)(rb_now_us() - began_us) / 1000.0;
		/* what comes next has less to send, unless it does not get less any more */
		if (ms <= SHORT_FILES_MS || (i > 0 && ms > before_ms * USEFUL_SHARE))
			break;
	}
	*ret_last_ms = ms;
	return r;
}

int rb_rounds_files(struct rb_migration *m, struct rb_outlook *outlook, struct rb_err *err)
{
	int r = file_rounds(m, &outlook->files_ms, err);

	predict(m, outlook);
	return r;
}

int rb_rounds_files_only(struct rb_migration *m, struct rb_err *err)
{
	double ms;

	return file_rounds(m, &ms, err);
}

int rb_rounds_frozen(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = rb_memory_freeze(c->memory, err);
	return r;
}

int rb_rounds_look(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		char skip[600];

		snprintf(skip, sizeof(skip), "%s/skip", c->work_dir);
		if (r >= 0)
			r = rb_memory_look(c->memory, err);
		if (r >= 0)
			r = rb_memory_hide(c->memory, skip, err);
	}
	return r;
}

int rb_rounds_send(struct rb_migration *m, struct rb_err *err)
{
	struct rb_memory_stats stats = {};

	return send_blocks(m, false, rb_memory_round_all, &stats, err);
}

int rb_rounds_send_shared(struct rb_migration *m, struct rb_err *err)
{
	struct rb_memory_stats stats = {};

	return send_blocks(m, false, rb_memory_round_shared, &stats, err);
}

/* What was sent in the frozen time, and how long that took. */
static int send_frozen(struct rb_migration *m, send_fn *send, struct rb_err *err)
{
	struct rb_memory_stats stats = {};
	int64_t began_us = rb_now_us();
	int r = send_blocks(m, true, send, &stats, err);

	rb_migration_fact(m, "last_ms", json_integer((rb_now_us() - began_us + 500) / 1000));
	rb_migration_fact(m, "last_bytes", json_integer((json_int_t)stats.bytes));
	return r;
}

int rb_rounds_rest(struct rb_migration *m, struct rb_err *err)
{
	bool stays = rb_memory_stays(m);
	uint64_t left = 0;

	rb_each_member (c, m) {
		left += rb_memory_left(c->memory);
		c->expected_bytes =
			stays ? 0 : rb_memory_left(c->memory) + rb_memory_shared_pending(c->memory);
	}
	if (!stays)
		return send_frozen(m, rb_memory_send_last, err);
	rb_migration_fact(m, "left_bytes", json_integer((json_int_t)left));
	return send_frozen(m, rb_memory_leave, err);
}

void rb_memory_let_stay(struct rb_migration *m)
{
	rb_migration_fact(m, "memory_stays", json_true());
}

bool rb_memory_stays(const struct rb_migration *m)
{
	return rb_json_bool(m->entry.facts, "memory_stays", false);
}
