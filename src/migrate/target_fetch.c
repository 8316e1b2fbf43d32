// SPDX-License-Identifier: Apache-2.0
/*
 * target_fetch.c - the target of a container that runs here, and whose memory is still at the
 * source
 *
 * The pager's fetchers (memory/fetcher.h) ask the source for pages, over connections of their own
 * (verb "fetch": a list of wants follows, memory/wants.h; the reply, then records of pages). They
 * outlive this worker. It only waits until the pager needs nothing more from there: DONE, which
 * lets the source throw its copy away, comes after that.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "fetcher.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "rounds.h"
#include "source.h"
#include "strategy.h"
#include "target.h"
#include "wants.h"

#define CONNECT_MS  10000
#define FETCH_MS    30000
#define ANSWER_MS   1000 /* of "fetched" */
#define POLL_MS	    10
#define WAIT_MS	    200
#define WANTS_BLOCK 1024 /* 16 KiB */

/* How a fetcher reaches the source; in its own process, for good. */
struct rb_remote {
	struct rb_tls *tls;
	char node[256], address[256];
	json_t *args;
	struct rb_conn *conn;
	int64_t used_ms; /* when it was last */
};

int rb_remote_new(struct rb_migration *m, const struct rb_member *c, struct rb_remote **ret,
		  struct rb_err *err)
{
	const char *address = rb_json_str(m->node->peers, m->entry.peer, NULL);
	struct rb_remote *remote;

	if (!address)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "node '%s' is not known here",
				   m->entry.peer);
	remote = calloc(1, sizeof(*remote));
	if (!remote)
		return rb_err_set(err, -ENOMEM, "fetch memory");
	remote->tls = m->node->tls;
	remote->args = rb_member_args(m, c);
	json_object_set_new(remote->args, "id", json_string(m->entry.id));
	snprintf(remote->node, sizeof(remote->node), "%s", m->entry.peer);
	snprintf(remote->address, sizeof(remote->address), "%s", address);
	*ret = remote;
	return 0;
}

void rb_remote_free(struct rb_remote *remote)
{
	if (!remote)
		return;
	json_decref(remote->args);
	rb_conn_free(remote->conn);
	free(remote);
}

static int send_wants(struct rb_remote *remote, const struct rb_want *wants, size_t n,
		      const struct rb_wait *wait, struct rb_err *err)
{
	uint8_t block[WANTS_BLOCK * RB_WANT_BYTES];
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n;) {
		size_t len = 0;

		for (; i < n && len < sizeof(block); i++, len += RB_WANT_BYTES)
			rb_want_encode(block + len, &wants[i]);
		r = rb_stream_write(remote->conn, block, len, wait, err);
	}
	return r < 0 ? r : rb_stream_end(remote->conn, wait, err);
}

static int call(struct rb_remote *remote, const struct rb_want *wants, size_t n, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, CONNECT_MS);
	int r;

	/* the source may be about to hang up */
	if (remote->conn && rb_now_ms() - remote->used_ms > RB_FETCH_IDLE_MS / 2)
		rb_conn_free(TAKE_PTR(remote->conn));
	r = remote->conn ? 0
			 : rb_conn_connect(remote->tls, remote->address, remote->node, &wait,
					   &remote->conn, err);

	wait = rb_wait_within(NULL, FETCH_MS);
	if (r >= 0)
		r = rb_conn_call(remote->conn, "fetch", remote->args, &wait, err);
	if (r >= 0)
		r = send_wants(remote, wants, n, &wait, err);
	return r < 0 ? r : rb_conn_reply(remote->conn, NULL, &wait, err);
}

static int fetch(void *arg, bool urgent, const struct rb_want *wants, size_t n,
		 int (*take)(void *taker, const void *block, size_t len, struct rb_err *err),
		 void *taker, struct rb_err *err)
{
	struct rb_remote *remote = arg;
	ssize_t len = 1;
	int r;

	json_object_set_new(remote->args, "urgent", json_boolean(urgent));
	r = call(remote, wants, n, err);
	while (r >= 0 && len > 0) {
		struct rb_wait wait = rb_wait_within(NULL, FETCH_MS);
		const void *block;

		len = rb_stream_read(remote->conn, &block, &wait, err);
		r = len > 0 ? take(taker, block, (size_t)len, err) : (int)len;
	}
	remote->used_ms = rb_now_ms();
	if (r < 0)
		rb_conn_free(TAKE_PTR(remote->conn));
	return r;
}

void rb_remote_source(struct rb_remote *remote, struct rb_page_source *ret)
{
	*ret = (struct rb_page_source){ fetch, remote };
}

/* --- until all is here --- */

/* Return: bytes that are still needed, 0 when the source is not needed any more */
static uint64_t left_bytes(const struct rb_migration *m, const struct rb_member *c, bool *ret_lost)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX], text[32] = "";
	unsigned long long left;

	/* only what is proved not to be needed is not */
	if (rb_fetching_lock(m->node->run_dir, c->container_id, path, sizeof(path), NULL) < 0)
		return 1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : 1;
	if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
		struct stat st;

		/* or it went between open and flock */
		*ret_lost |= fstat(fd, &st) == 0 && st.st_nlink > 0;
		return 0;
	}
	(void)!pread(fd, text, sizeof(text) - 1, 0);
	left = strtoull(text, NULL, 10);
	return left ? left : 1;
}

static uint64_t left_of_all(const struct rb_migration *m, bool *ret_lost)
{
	uint64_t left = 0;

	rb_each_member (c, m)
		left += left_bytes(m, c, ret_lost);
	return left;
}

/* "fetched": how much is still needed from the source; a moment later where it is anything */
int rb_target_fetched(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int64_t until_ms = rb_now_ms() + ANSWER_MS;
	bool lost = false;
	uint64_t left;
	int r;

	(void)args;
	if (!rb_json_bool(m->entry.facts, "running", false)) {
		r = rb_target_confirm_running(m, err);
		if (r >= 0)
			r = rb_migration_save(m, err);
		if (r < 0)
			return r;
	}
	while ((left = left_of_all(m, &lost)) > 0 && rb_now_ms() < until_ms)
		rb_wait_ms(POLL_MS, NULL, NULL);
	*ret = json_pack("{s:I}", "left_bytes", (json_int_t)left);
	return 0;
}

void rb_target_forget_lost(const struct rb_migration *m, const struct rb_member *c)
{
	char path[PATH_MAX];
	bool lost = false;

	left_bytes(m, c, &lost);
	if (lost &&
	    rb_fetching_lock(m->node->run_dir, c->container_id, path, sizeof(path), NULL) >= 0)
		unlink(path);
}

int rb_target_wait_fetched(struct rb_migration *m, struct rb_err *err)
{
	bool lost = false;
	int r = 0;

	if (!rb_memory_stays(m))
		return 0;
	while (left_of_all(m, &lost) > 0) {
		rb_progress_say(m, "'%s' runs here; its memory is still coming from node '%s'",
				m->entry.container, m->entry.peer);
		rb_wait_ms(WAIT_MS, NULL, NULL);
	}
	rb_each_member (c, m) {
		bool this_one = false;

		left_bytes(m, c, &this_one);
		if (r < 0 || !this_one)
			continue;
		rb_warn("fetch: '%s' has lost memory that was still on node '%s': starting it "
			"afresh",
			c->name, m->entry.peer);
		r = rb_target_start_fresh(m, c, true, err);
	}
	return r;
}
