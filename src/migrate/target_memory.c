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
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "dump.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "pager.h"
#include "receive.h"
#include "strategy.h"
#include "target.h"
#include "workdir.h"

#define SOCKET "lazy-pages.socket" /* CRIU looks for it in its work folder */

static int take_blocks(struct rb_migration *m, bool last, struct rb_err *err)
{
	const void *block;
	ssize_t n;

	rb_receiver_begin(m->receiver, last);
	while ((n = rb_stream_read(m->conn, &block, &m->wait, err)) > 0) {
		int r = rb_receiver_take(m->receiver, block, (size_t)n, err);

		if (r < 0) {
			rb_stream_drain(m->conn, &m->wait, NULL);
			return r;
		}
	}
	return n < 0 ? (int)n : rb_receiver_end(m->receiver, err);
}

/* "pages" {"last"}: a stream of blocks (memory/record.h) follows */
int rb_target_pages(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int r = m->receiver ? 0 : rb_receiver_new(&m->receiver, err);

	(void)ret;
	if (r < 0) {
		rb_stream_drain(m->conn, &m->wait, NULL);
		return r;
	}
	return take_blocks(m, rb_json_bool(args, "last", false), err);
}

static void socket_folder(const struct rb_migration *m, char *ret, size_t size)
{
	snprintf(ret, size, "%s/work", m->work_dir);
}

int rb_target_listen_for_memory(struct rb_migration *m, struct rb_err *err)
{
	char work[600];

	if (!m->receiver)
		return 0;
	socket_folder(m, work, sizeof(work));
	rb_close_fd(&m->pager_listen_fd);
	m->pager_listen_fd = rb_criu_listen_at(work, SOCKET, err);
	return m->pager_listen_fd < 0 ? m->pager_listen_fd : 0;
}

int rb_target_start_pager(struct rb_migration *m, struct rb_err *err)
{
	char freezer[512], released[512], lock[512];
	struct rb_pager_options options = { .alive_fd = -EBADF };
	int r;

	if (!m->receiver)
		return 0;
	if (!rb_receiver_complete(m->receiver))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "the container's memory has not arrived completely");
	options.keeper = rb_criu_placeholder_pid(m->node->run_dir, m->entry.container_id);
	r = rb_criu_placeholder_freezer(m->node->run_dir, m->entry.container_id, freezer,
					sizeof(freezer), err);
	if (r < 0)
		return r;
	r = rb_placing_lock(m->node->run_dir, m->entry.container_id, lock, sizeof(lock), err);
	if (r < 0)
		return r;
	snprintf(released, sizeof(released), "%s/arrivals/%s/released", m->node->run_dir,
		 m->entry.container_id);
	options.listen_fd = TAKE_FD(m->pager_listen_fd);
	options.store = rb_receiver_store(m->receiver);
	options.freezer_path = freezer;
	options.released_path = released;
	options.lock_path = lock;
	return rb_pager_start(&options, err);
}

void rb_target_forget_memory(struct rb_migration *m)
{
	rb_receiver_free(TAKE_PTR(m->receiver));
	rb_close_fd(&m->pager_listen_fd);
}
