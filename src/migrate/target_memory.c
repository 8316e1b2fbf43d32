// SPDX-License-Identifier: Apache-2.0
/*
 * target_memory.c - memory that arrives without CRIU: into the store, and from there to the tasks
 *
 * While the container runs at the source its pages come in rounds (verb "pages") into a store in
 * this worker's memory. CRIU restores the tasks without them (`lazy-pages` in its configuration,
 * which restore.c writes when it finds the socket) and connects to the pager's socket, where it is
 * kept waiting until the last round is here: then the pager is forked, with the store, and
 * outlives this worker. This worker keeps its own view of the store until the tasks run, for a
 * restore that has to be repeated.
 *
 * Shared memory waits in memfds of this worker (memory/objects.h). CRIU is told in
 * <work_dir>/shared where, and puts them in place as they are (criu_shared.c). Segments of System V
 * wait in an IPC namespace, which <work_dir>/ipc names, and which becomes the container's when CRIU
 * makes namespaces (criu_sysv.c). Large files of a tmpfs wait in one that CRIU mounts as it is;
 * <work_dir>/tmpfs says where (tmpfs_arrived.c).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "dump.h"
#include "err.h"
#include "facts.h"
#include "fault.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "objects.h"
#include "pager.h"
#include "fetcher.h"
#include "receive.h"
#include "rounds.h"
#include "store.h"
#include "strategy.h"
#include "target.h"
#include "target_lanes.h"
#include "workdir.h"

#define GROWTH_BYTES ((uint64_t)1 << 30)
#define SOCKET	     "lazy-pages.socket" /* CRIU looks for it in its work folder */

/* What pages that wait here may take. Those that stay at the source until they are placed take
 * nothing of ours, only of the container's. */
static uint64_t room_for_pages(const json_t *offer)
{
	bool stays = rb_strategy_lets_stay(rb_json_str(offer, "strategy", ""));
	uint64_t available = rb_memory_available();
	uint64_t room = stays ? UINT64_MAX : rb_memory_allowed();

	if (available && available < room)
		room = available;
	return room - room / 32;
}

/*
 * A container grows while it is being moved; one that has grown by half, or more where it is small,
 * is measured again. And whatever was announced, this host goes on, and so do we.
 */
static uint64_t limit_of_all(struct rb_migration *m)
{
	const json_t *offer = json_object_get(m->entry.facts, "offer");
	uint64_t room, limit;
	int64_t bytes = rb_json_int(offer, "pages_bytes", rb_json_int(offer, "memory_bytes", 0));

	if (m->memory_limit)
		return m->memory_limit;
	limit = bytes > 0 ? (uint64_t)bytes : 0;
	bytes = rb_json_int(offer, "shared_bytes", 0);
	limit += bytes > 0 ? (uint64_t)bytes : 0;
	limit += limit / 2 + GROWTH_BYTES;
	room = room_for_pages(offer);
	if (limit > room)
		limit = room;
	m->memory_limit = limit;
	return limit;
}

/* One limit for all members. */
static void set_limit(struct rb_migration *m, struct rb_member *c)
{
	uint64_t limit = limit_of_all(m);

	rb_each_member (other, m) {
		uint64_t used = other == c || !other->receiver
					? 0
					: rb_receiver_pages(other->receiver) * RB_PAGE_SIZE;

		limit -= used < limit ? used : limit;
	}
	rb_receiver_limit(c->receiver, limit);
}

/* What is refused: a source that writes to the conversation alone looks for an answer when it is
 * done. One that writes to lanes listens here all the time, and waits for them, not for us. */
static void drain(struct rb_migration *m, const json_t *args)
{
	if (rb_json_int(args, "lanes", 0) == 0)
		rb_stream_drain(m->conn, &m->wait, NULL);
}

static int take_block(void *arg, const void *block, size_t len, struct rb_err *err)
{
	return rb_receiver_take(arg, block, len, err);
}

/* What comes over lanes first: the stream may have lists that have to come behind all pages. */
static int take_blocks(struct rb_migration *m, struct rb_member *c, const json_t *args,
		       struct rb_err *err)
{
	int lanes = (int)rb_json_int(args, "lanes", 0);
	const void *block;
	ssize_t n;
	int r;

	set_limit(m, c);
	r = rb_fault_point("target.pages.limited", &m->wait, err);
	if (r < 0) {
		drain(m, args);
		return r;
	}
	rb_receiver_begin(c->receiver, rb_json_bool(args, "last", false));
	if (lanes) {
		/* not drained: see there */
		r = rb_target_lanes_take(m, lanes, take_block, c->receiver, err);
		if (r < 0)
			return r;
	}
	while ((n = rb_stream_read(m->conn, &block, &m->wait, err)) > 0) {
		r = rb_receiver_take(c->receiver, block, (size_t)n, err);
		if (r < 0) {
			/* whatever lanes there were have ended: the source writes here again */
			rb_stream_drain(m->conn, &m->wait, NULL);
			return r;
		}
	}
	return n < 0 ? (int)n : rb_receiver_end(c->receiver, err);
}

/* "pages" {"member", "last", "lanes"}: a stream of blocks (memory/record.h) follows */
int rb_target_pages(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_member *c = rb_member_asked(m, args);
	int r = 0;

	(void)ret;
	if (!c)
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no such member");
	else if (!c->receiver)
		r = rb_receiver_new(&c->receiver, err);
	if (r < 0) {
		drain(m, args);
		return r;
	}
	return take_blocks(m, c, args, err);
}

static void hang_up(struct rb_member *c)
{
	if (c->pager_listen_fd > 0)
		close(c->pager_listen_fd);
	c->pager_listen_fd = 0;
}

int rb_target_listen_for_memory(struct rb_member *c, struct rb_err *err)
{
	char work[600];
	int fd;

	if (!c->receiver)
		return 0;
	hang_up(c);
	snprintf(work, sizeof(work), "%s/work", c->work_dir);
	fd = rb_criu_listen_at(work, SOCKET, err);
	if (fd < 0)
		return fd;
	c->pager_listen_fd = fd;
	return 0;
}

static int publish_shared(const struct rb_member *c, struct rb_err *err)
{
	char dir[PATH_MAX];
	int r = rb_path(dir, sizeof(dir), "%s/shared", c->work_dir);

	return r < 0 ? rb_err_set(err, r, "hand over shared memory")
		     : rb_objects_publish(rb_receiver_objects(c->receiver), dir, err);
}

static int check_complete(const struct rb_member *c, struct rb_err *err)
{
	return rb_receiver_complete(c->receiver)
		       ? 0
		       : rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				     "the container's memory has not arrived completely");
}

int rb_target_hand_over_places(const struct rb_member *c, struct rb_err *err)
{
	char ipc[PATH_MAX], dir[PATH_MAX];
	struct rb_objects *objects;
	int r;

	if (!c->receiver)
		return 0;
	r = check_complete(c, err);
	if (r < 0)
		return r;
	objects = rb_receiver_objects(c->receiver);
	r = rb_path(ipc, sizeof(ipc), "%s/ipc", c->work_dir);
	if (r >= 0)
		r = rb_path(dir, sizeof(dir), "%s/tmpfs", c->work_dir);
	if (r < 0)
		return rb_err_set(err, r, "hand over shared memory");
	r = rb_objects_publish_segments(objects, ipc, err);
	return r < 0 ? r : rb_objects_offer(objects, dir, err);
}

int rb_target_start_pager(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	char freezer[PATH_MAX], released[PATH_MAX], lock[PATH_MAX], fetching[PATH_MAX];
	struct rb_pager_options options = { .alive_fd = -EBADF };
	struct rb_remote *remote = NULL;
	struct rb_page_source source;
	int r;

	if (!c->receiver)
		return 0;
	r = check_complete(c, err);
	if (r >= 0)
		r = publish_shared(c, err);
	if (r >= 0)
		r = rb_criu_placeholder_freezer(m->node->run_dir, c->container_id, freezer,
						sizeof(freezer), err);
	if (r >= 0)
		r = rb_placing_lock(m->node->run_dir, c->container_id, lock, sizeof(lock), err);
	if (r >= 0)
		r = rb_path(released, sizeof(released), "%s/arrivals/%s/released", m->node->run_dir,
			    c->container_id);
	if (r >= 0)
		r = rb_fetching_lock(m->node->run_dir, c->container_id, fetching, sizeof(fetching),
				     err);
	if (r >= 0 && rb_memory_stays(m))
		r = rb_remote_new(m, c, &remote, err);
	if (r < 0)
		return r;
	if (remote) {
		rb_remote_source(remote, &source);
		options.source = &source;
		options.source_path = fetching;
	}
	options.keeper = rb_criu_placeholder_pid(m->node->run_dir, c->container_id);
	options.listen_fd = c->pager_listen_fd;
	c->pager_listen_fd = 0; /* taken over */
	options.store = rb_receiver_store(c->receiver);
	options.freezer_path = freezer;
	options.released_path = released;
	options.lock_path = lock;
	r = rb_pager_start(&options, err);
	rb_remote_free(remote);
	return r;
}

bool rb_target_has_memory(const struct rb_migration *m)
{
	if (!rb_strategy_of(m)->lazy)
		return true;
	rb_each_member (c, m)
		if (!c->receiver)
			return false;
	return true;
}

int rb_target_check_memory(struct rb_migration *m, const struct rb_member *only, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0 && c->receiver && (!only || c == only))
			r = rb_objects_check(rb_receiver_objects(c->receiver), err);
	return r;
}

void rb_target_let_go_of_memory(struct rb_migration *m)
{
	rb_each_member (c, m)
		if (c->receiver)
			rb_objects_let_go(rb_receiver_objects(c->receiver));
}

void rb_target_forget_memory(struct rb_migration *m)
{
	rb_each_member (c, m) {
		rb_receiver_free(TAKE_PTR(c->receiver));
		hang_up(c);
	}
}
