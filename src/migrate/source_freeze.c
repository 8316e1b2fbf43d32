// SPDX-License-Identifier: Apache-2.0
/*
 * source_freeze.c - the source's stages while the container is frozen
 *
 * From rb_source_freeze() on the container stands still; every path out of here goes through
 * COMMIT or through rb_source_freeze_undo(). The order of the freeze matters: first Docker must not
 * start the container behind our back any more (restart policy `no`); then the journal says FROZEN;
 * then nothing may reach its network any more (the kernel would go on acknowledging data for frozen
 * tasks), but is caught, to be heard where the container runs next; then the tasks are stopped;
 * then nothing may leave any more.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attached.h"
#include "cleanup.h"
#include "conn.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "fault.h"
#include "freezer.h"
#include "groups.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "neighbours.h"
#include "net.h"
#include "obstacles.h"
#include "plain.h"
#include "ports.h"
#include "proc.h"
#include "reconnect.h"
#include "rounds.h"
#include "source.h"
#include "storage.h"
#include "strategy.h"
#include "switchover.h"
#include "sync.h"
#include "vfork.h"

#define ARM_MS	   60000
#define FREEZE_MS  10000
#define READ_MS	   10
#define DUMP_TRIES 10

#define IMAGES_BYTES (64ULL << 20) /* of any container, without pages and what waits in sockets */

static int arm_one(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		   struct rb_err *err)
{
	char memory[PATH_MAX];
	struct rb_dump dump;
	int r;

	rb_source_fill_dump(m, c, &dump);
	r = rb_member_memory_dir(m, c, memory, sizeof(memory), err);
	/* what waits in connections is in their images */
	if (r >= 0 &&
	    rb_criu_has_room_in_memory(m->node->run_dir, m->members_count * IMAGES_BYTES +
								 4 * rb_tcp_waiting(dump.init_pid)))
		dump.memory_dir = memory;
	return r < 0 ? r : rb_criu_dump_prepare(&dump, wait, err);
}

/* The target begins to restore, as far as it can without images. */
static int arm_target(struct rb_migration *m, struct rb_err *err)
{
	json_t *lists = json_array();
	_cleanup_json_ json_t *args = json_pack("{s:o}", "descriptors", lists);
	int r = 0;

	rb_each_member (c, m) {
		json_t *one = NULL;

		if (r >= 0)
			r = rb_criu_descriptors(m->node->runtime_root, c->container_id, &one, err);
		json_array_append_new(lists, one ? one : json_null());
	}
	return r < 0 ? r : rb_conn_call(m->conn, "arm", args, &m->wait, err);
}

/* Everything about the dump and the restore that can be done while the container still runs. */
int rb_source_arm(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ARM_MS);
	_cleanup_json_ json_t *group = rb_source_group(m);
	bool lazy = rb_strategy_of(m)->lazy;
	struct rb_err their = {};
	int r = rb_obstacles_joined(m->node, group, &wait, err), r2 = 0;

	rb_ports_listen(m);
	if (r >= 0)
		r = rb_storage_still_ours(m, group, &wait, err);
	if (r >= 0)
		r = rb_attached_networks(m, &wait, err);
	if (r >= 0 && lazy)
		r = arm_target(m, err);
	if (r < 0)
		return r;
	/* both at the same time */
	rb_each_member (c, m)
		if (r >= 0)
			r = arm_one(m, c, &wait, err);
	if (lazy)
		r2 = rb_conn_reply(m->conn, NULL, &m->wait, &their);
	if (r >= 0 && r2 < 0)
		*err = their;
	return r < 0 ? r : r2;
}

/* Nothing new comes in: what waits in UDP sockets, which CRIU does not save, is read in a moment,
 * or nobody reads it. */
static void let_read(const struct rb_migration *m)
{
	int init = rb_member_init(&m->members[0]);

	for (int ms = 0; ms < READ_MS && rb_udp_waiting(init) > 0; ms++)
		rb_wait_ms(1, NULL, NULL);
}

static int freeze_all(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = rb_vfork_freeze(rb_member_freezer(c), wait, err);
	return r;
}

/* While the container runs, and before the last round, after which each moment has more written:
 * what the switch-over needs is there, and does nothing yet. */
static int prepare_switch(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_close_ int netns = rb_source_netns(m, err);
	int r = netns < 0 ? netns : rb_attached_still(m, err);

	if (r < 0)
		return r;
	rb_switchover_capture(m, netns);
	rb_ports_look(m);
	return rb_silence_prepare(netns, err);
}

/* What the tasks still say before they stand still is heard: it is part of what they did. */
static int stop_tasks(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, FREEZE_MS);
	_cleanup_close_ int netns = -EBADF;
	int r;

	netns = rb_source_netns(m, err);
	if (netns < 0)
		return netns;
	rb_migration_hurry(m, true);
	m->frozen_us = rb_now_us();
	r = rb_silence_hearing(netns, err);
	if (r >= 0)
		let_read(m);
	if (r >= 0)
		r = rb_fault_point("source.freeze.silent", &m->wait, err);
	if (r >= 0)
		r = freeze_all(m, &wait, err);
	/* also loopback: connections of the container to itself, or to another of the group: both
	 * their ends must stand still */
	return r < 0 ? r : rb_silence_all(netns, err);
}

int rb_source_freeze(struct rb_migration *m, struct rb_err *err)
{
	const struct rb_strategy *strategy = rb_strategy_of(m);
	struct rb_wait wait = rb_migration_wait(m, FREEZE_MS);
	_cleanup_json_ json_t *never = json_pack("{s:s}", "Name", "no");
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = rb_engine_restart_policy(m->node->engine, c->container_id, never, &wait,
						     err);
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_PREPARING), RB_FROZEN,
				    err);
	if (r < 0)
		return r;
	m->entry.state = RB_FROZEN;
	r = prepare_switch(m, err);
	/* what was written to files while both sides were armed */
	if (r >= 0)
		r = rb_sync_round(m, err);
	if (r >= 0 && strategy->last_round)
		r = strategy->last_round(m, err);
	return r < 0 ? r : stop_tasks(m, err);
}

/*
 * A connection that is just being made cannot be dumped (CRIU: "In-flight connection"). It is made
 * a moment later: let the tasks run for that long, and try again.
 */
static int dump_later(struct rb_migration *m, int tried, struct rb_err *err)
{
	int r;

	rb_info("dump: a connection is just being made; trying again");
	r = rb_source_give_back(m, err);
	m->frozen_us = 0;
	if (r >= 0)
		r = rb_wait_ms(20 * tried, &m->wait, err);
	if (r >= 0)
		r = rb_source_arm(m, err);
	if (r >= 0)
		r = prepare_switch(m, err);
	return r < 0 ? r : stop_tasks(m, err);
}

/* Whom the container knows on its segment; without it has to ask for them anew. */
static void note_neighbours(struct rb_migration *m)
{
	_cleanup_close_ int netns = rb_source_netns(m, NULL);
	json_t *list = NULL;

	if (netns >= 0 && rb_neighbours_read(netns, &list, NULL) >= 0)
		rb_migration_fact(m, "neighbours", list);
}

/* of a member; -EBADF where there is none */
struct begun {
	int hold_fd, dump_fd;
};

/* @held: CRIU waits for let_go() before it looks at memory */
static int begin_dumps(struct rb_migration *m, struct begun *list, bool held, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		struct begun *begun = &list[rb_member_number(m, c)];
		struct rb_dump dump;

		*begun = (struct begun){ -EBADF, -EBADF };
		rb_source_fill_dump(m, c, &dump);
		if (r >= 0 && held)
			r = begun->hold_fd = rb_criu_dump_hold(&dump, err);
		if (r >= 0)
			r = begun->dump_fd = rb_criu_dump_begin(&dump, err);
	}
	return r;
}

static int let_go(struct rb_migration *m, struct begun *list, bool go_on, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		struct begun *begun = &list[rb_member_number(m, c)];
		struct rb_dump dump;
		int r2;

		rb_source_fill_dump(m, c, &dump);
		if (begun->hold_fd < 0)
			continue;
		r2 = rb_criu_dump_let_go(&dump, TAKE_FD(begun->hold_fd), go_on && r >= 0,
					 r < 0 ? NULL : err);
		r = r < 0 ? r : r2;
	}
	return r;
}

/* Return: of the first that failed; -EAGAIN before others: then trying again may help */
static int end_dumps(struct rb_migration *m, const struct begun *list, struct rb_err *err)
{
	int result = 0;

	rb_each_member (c, m) {
		int fd = list[rb_member_number(m, c)].dump_fd;
		struct rb_err why = {};
		int r = fd < 0 ? 0 : rb_criu_dump_end(fd, &m->wait, &why);

		if (r >= 0 || (result < 0 && r != -EAGAIN))
			continue;
		result = r;
		if (err)
			*err = why;
	}
	return result;
}

/* The last look is taken while CRIU begins. */
static int begin_and_look(struct rb_migration *m, struct begun *list, struct rb_err *err)
{
	const struct rb_strategy *strategy = rb_strategy_of(m);
	int r = begin_dumps(m, list, strategy->look, err);

	if (r >= 0 && strategy->look)
		r = rb_fault_point("source.dump.look", &m->wait, err);
	if (r >= 0 && strategy->look)
		r = strategy->look(m, err);
	if (r >= 0)
		r = let_go(m, list, true, err);
	if (r < 0) {
		let_go(m, list, false, NULL);
		rb_each_member (c, m)
			rb_close_fd(&list[rb_member_number(m, c)].dump_fd);
	}
	return r;
}

/* While CRIU dumps, the files travel: the tasks stand still for both. */
static int dump_and_sync(struct rb_migration *m, struct rb_err *err)
{
	const struct rb_strategy *strategy = rb_strategy_of(m);
	struct rb_err sync_err = {};
	struct begun begun[RB_MEMBERS_MAX];
	int64_t began_us;
	int r, r2;

	r = strategy->frozen ? strategy->frozen(m, err) : 0;
	if (r >= 0)
		r = rb_storage_locked(m, err);
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_obstacles_shm(json_object_get(c->facts, "inspect"),
					     rb_member_init(c), err);
	if (r >= 0)
		r = begin_and_look(m, begun, err);
	if (r < 0)
		return r;
	note_neighbours(m);
	rb_ports_note(m);
	rb_each_member (c, m)
		rb_groups_note(c);
	r2 = strategy->rest ? strategy->rest(m, &sync_err) : 0;
	began_us = rb_now_us();
	if (r2 >= 0)
		r2 = rb_sync_round(m, &sync_err);
	rb_migration_fact(m, "files_ms", json_integer((rb_now_us() - began_us + 500) / 1000));
	if (r2 >= 0 && rb_json_bool(m->entry.facts, "verify", false))
		r2 = rb_sync_verify(m, &sync_err);
	r = end_dumps(m, begun, err);
	/* with a broken conversation there is nothing to try again */
	if (r == -EAGAIN && r2 < 0)
		r = 0;
	if (r >= 0 && r2 < 0 && err)
		*err = sync_err;
	return r < 0 ? r : r2;
}

int rb_source_dump(struct rb_migration *m, struct rb_err *err)
{
	int r = dump_and_sync(m, err);

	for (int tried = 1; r == -EAGAIN && tried < DUMP_TRIES; tried++) {
		r = dump_later(m, tried, err);
		if (r >= 0)
			r = dump_and_sync(m, err);
	}
	return r;
}

/* CRIU's images are small but for the files with the pages, which go into a folder of their own */
static int set_pages_aside(const struct rb_member *c, char *images, char *pages, size_t size,
			   struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	int r;

	rb_path(images, size, "%s/images", c->work_dir);
	rb_path(pages, size, "%s/pages", c->work_dir);
	r = rb_mkdir_p(pages, 0700, err);
	if (r < 0)
		return r;
	dir = opendir(images);
	if (!dir)
		return rb_err_set(err, -errno, "open '%s'", images);
	while ((entry = readdir(dir))) {
		char from[1024], to[1024];

		if (strncmp(entry->d_name, "pages-", 6) != 0)
			continue;
		/* a link there, with or without pages at its end */
		if (entry->d_type == DT_LNK) {
			if (unlinkat(dirfd(dir), entry->d_name, 0) < 0)
				return rb_err_set(err, -errno, "remove '%s'", entry->d_name);
			continue;
		}
		rb_path(from, sizeof(from), "%s/%s", images, entry->d_name);
		rb_path(to, sizeof(to), "%s/%s", pages, entry->d_name);
		/* pages that had no link any more travel with the images */
		if (rename(from, to) < 0 && errno != EXDEV)
			return rb_err_set(err, -errno, "move '%s'", from);
	}
	return 0;
}

/* Its answer is waited for later (rb_source_transfer()).
 * @bytes: of all, for the target to see whether it has room for them in memory; 0: it knows */
static int send_images(struct rb_migration *m, struct rb_member *c, const char *what,
		       const char *path, uint64_t bytes, struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	int r;

	json_object_set_new(args, "what", json_string(what));
	if (bytes)
		json_object_set_new(args, "bytes", json_integer((json_int_t)bytes));
	r = rb_conn_call(m->conn, "images", args, &m->wait, err);
	if (r >= 0)
		r = rb_plain_send(m->conn, path, &m->wait, err);
	rb_progress_bytes(m);
	return r;
}

static int await_replies(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	while (r >= 0 && rb_conn_unanswered(m->conn))
		r = rb_conn_reply(m->conn, NULL, &m->wait, err);
	return r;
}

/* The target restores namespaces and mounts while the pages travel. Nothing that is sent depends on
 * an answer, and a target that fails says so and hangs up: so it need not wait for what comes next
 * until we have heard it. */
int rb_source_transfer(struct rb_migration *m, struct rb_err *err)
{
	const struct rb_strategy *strategy = rb_strategy_of(m);
	_cleanup_json_ json_t *args =
		json_pack("{s:s, s:b}", "strategy", strategy->name, "stays", rb_memory_stays(m));
	uint64_t images_bytes = 0, pages_bytes = 0;
	char images[600], pages[600];
	int r = 0;

	rb_each_member (c, m) {
		if (r >= 0)
			r = set_pages_aside(c, images, pages, sizeof(images), err);
		if (r >= 0 && strategy->lazy)
			r = rb_criu_restore_all_dumped(images, err);
		if (r >= 0)
			r = rb_plain_size(images, &images_bytes, err);
		if (r >= 0)
			r = rb_plain_size(pages, &pages_bytes, err);
		if (r >= 0)
			r = send_images(m, c, "images", images, images_bytes + pages_bytes, err);
	}
	if (r >= 0)
		r = rb_conn_call(m->conn, "restore", args, &m->wait, err);
	rb_each_member (c, m) {
		rb_path(pages, sizeof(pages), "%s/pages", c->work_dir);
		if (r >= 0)
			r = send_images(m, c, "pages", pages, 0, err);
	}
	return r < 0 ? r : await_replies(m, err);
}

/* of each member what its sockets have joined, or null */
static json_t *multicast_of_all(struct rb_migration *m)
{
	json_t *list = json_array();

	rb_each_member (c, m) {
		json_t *one = json_object_get(c->facts, "multicast");

		json_array_append_new(list, one ? json_incref(one) : json_null());
	}
	return list;
}

/* READY: the target has restored the container and holds it. */
int rb_source_restore(struct rb_migration *m, struct rb_err *err)
{
	/* at other addresses there are other neighbours, and no connections */
	bool same = !rb_reconnect_wanted(m);
	_cleanup_json_ json_t *flows = json_array();
	_cleanup_json_ json_t *args =
		json_pack("{s:O*, s:O, s:o}", "neighbours",
			  same ? json_object_get(m->entry.facts, "neighbours") : NULL, "flows",
			  flows, "multicast", multicast_of_all(m));
	int r;

	if (same) {
		json_array_extend(flows, json_object_get(m->entry.facts, "flows"));
		json_array_extend(flows, json_object_get(m->entry.facts, "flows_passed"));
	}
	m->ready_asked = true;
	r = rb_conn_call(m->conn, "ready", args, &m->wait, err);
	return r < 0 ? r : rb_conn_reply(m->conn, NULL, &m->wait, err);
}
