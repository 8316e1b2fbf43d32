// SPDX-License-Identifier: Apache-2.0
/*
 * received.c - which files here came whole from the peer, in this migration
 *
 * A file is known by device, inode and time of birth, since inode numbers are used again.
 *
 *	received_add()     -> USABLE
 *	received_take()       USABLE -> TORN
 *	received_patched()             TORN -> PATCHED
 *	received_finish()                      PATCHED -> USABLE
 *	received_begin()                       PATCHED -> TORN
 */
#include "received.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "blocks.h"
#include "err.h"

#define BUCKETS 4096

static_assert(RB_BLOCKS_PROMISES <= RECEIVED_MAX, "the sender keeps within what we take");

enum state { TORN, USABLE, PATCHED };

struct entry {
	struct entry *next;
	uint64_t dev, ino;
	struct statx_timestamp born;
	enum state state;
};

struct rb_received {
	struct entry *buckets[BUCKETS];
	size_t n;
	int names_fd;
};

int rb_received_new(struct rb_received **ret, struct rb_err *err)
{
	struct rb_received *received = calloc(1, sizeof(*received));

	if (!received)
		return rb_err_set(err, -ENOMEM, "prepare for large files");
	received->names_fd = -EBADF;
	*ret = received;
	return 0;
}

void rb_received_note_names(struct rb_received *received, int fd)
{
	received->names_fd = fd;
}

int received_names(const struct rb_received *received)
{
	return received ? received->names_fd : -EBADF;
}

void rb_received_free(struct rb_received *received)
{
	if (!received)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = received->buckets[i], *next; e; e = next) {
			next = e->next;
			free(e);
		}
	free(received);
}

void received_begin(struct rb_received *received)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = received->buckets[i]; e; e = e->next)
			if (e->state == PATCHED)
				e->state = TORN;
}

/* Where the file is in the table, or where it would be. */
static int find(struct rb_received *received, int fd, struct statx *st, struct entry ***ret)
{
	uint64_t dev;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, st) < 0)
		return -errno;
	dev = makedev(st->stx_dev_major, st->stx_dev_minor);
	*ret = &received->buckets[st->stx_ino % BUCKETS];
	while (**ret && ((**ret)->ino != st->stx_ino || (**ret)->dev != dev))
		*ret = &(**ret)->next;
	return 0;
}

static bool is_older(const struct entry *e, const struct statx *st)
{
	return memcmp(&e->born, &st->stx_btime, sizeof(e->born)) != 0;
}

int received_add(struct rb_received *received, int fd)
{
	struct entry **at = NULL;
	struct statx st;
	int r = find(received, fd, &st, &at);

	if (r < 0)
		return r;
	if (!*at && received->n == RECEIVED_MAX)
		return -E2BIG;
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (!*at)
			return -ENOMEM;
		received->n++;
	}
	(*at)->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	(*at)->ino = st.stx_ino;
	(*at)->born = st.stx_btime;
	(*at)->state = USABLE;
	return 0;
}

static int change(struct rb_received *received, int fd, enum state from, enum state to)
{
	struct entry **at = NULL;
	struct statx st;
	int r = find(received, fd, &st, &at);

	if (r < 0)
		return r;
	if (!*at || (*at)->state != from || is_older(*at, &st))
		return 0;
	(*at)->state = to;
	return 1;
}

int received_take(struct rb_received *received, int fd)
{
	return change(received, fd, USABLE, TORN);
}

int received_patched(struct rb_received *received, int fd)
{
	int r = change(received, fd, TORN, PATCHED);

	return r == 0 ? -ESTALE : r < 0 ? r : 0;
}

int received_finish(struct rb_received *received, int fd)
{
	return change(received, fd, PATCHED, USABLE);
}
