// SPDX-License-Identifier: Apache-2.0
/*
 * sysv.c - which segments of System V shared memory there are in an IPC namespace
 *
 * The kernel lists them in /proc/sysvipc/shm, those of the namespace of who opens it. So a thread
 * goes there for a moment. shmctl(2) would tell the same, one by one; attaching a segment, for
 * another look at it, would show in its counts and times.
 */
#include "sysv.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "thread.h"

#define LIST   "/proc/sysvipc/shm"
#define FORCED "/proc/sys/kernel/shm_rmid_forced"

static ino_t inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

int rb_sysv_ipcns(pid_t pid, ino_t *ret)
{
	ino_t own = inode_of("/proc/self/ns/ipc"), inode;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", (int)pid);
	inode = inode_of(path);
	if (own == 0 || inode == 0)
		return -ESRCH;
	*ret = inode == own ? 0 : inode;
	return 0;
}

void rb_sysv_clear(struct rb_sysv *sysv)
{
	if (sysv->read)
		rb_close_fd(&sysv->fd);
	free(sysv->list);
	*sysv = (struct rb_sysv){};
}

/* key, id, mode, size, pids of creator and last user, count, uid, gid, cuid, cgid, three times */
static bool parse(const char *line, struct rb_sysv_entry *ret)
{
	struct rb_segment *is = &ret->is.segment;
	unsigned long long size, id;
	long long changed;

	*ret = (struct rb_sysv_entry){ .is.kind = RB_OBJECT_SEGMENT };
	if (sscanf(line, "%d %llu %o %llu %*d %*d %*u %u %u %u %u %*d %*d %lld", &is->key, &id,
		   &is->mode, &size, &is->uid, &is->gid, &is->cuid, &is->cgid, &changed) != 9)
		return false;
	ret->is.inode = id;
	ret->is.size = size;
	ret->changed = changed;
	return true;
}

/* The list comes in pieces. One that was removed after it was read may have left its key to one
 * that is read later. */
static void strike(struct rb_sysv *sysv, int key)
{
	for (size_t i = 0; key != IPC_PRIVATE && i < sysv->n; i++)
		if (sysv->list[i].is.segment.key == key) {
			sysv->list[i] = sysv->list[--sysv->n];
			return;
		}
}

static int add(struct rb_sysv *sysv, const char *line)
{
	struct rb_sysv_entry entry, *list;

	/* the first line has the names of the columns */
	if (!parse(line, &entry))
		return 0;
	strike(sysv, entry.is.segment.key);
	if (sysv->n == RB_SYSV_MAX)
		return 0;
	list = realloc(sysv->list, (sysv->n + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	sysv->list = list;
	list[sysv->n++] = entry;
	return 0;
}

static bool is_set(const char *path)
{
	_cleanup_buf_ struct rb_buf text = {};

	return rb_read_file(path, 16, &text, NULL) < 0 || atoi(text.data) != 0;
}

/* In a thread of its own. */
static int look(void *arg, struct rb_err *err)
{
	struct rb_sysv *sysv = arg;
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (setns(sysv->fd, CLONE_NEWIPC) < 0)
		return rb_err_set(err, -errno, "look into the container's IPC namespace");
	if (is_set(FORCED))
		return 0;
	file = fopen(LIST, "re");
	if (!file)
		return rb_err_set(err, -errno, "open '%s'", LIST);
	while (r >= 0 && getline(&line, &size, file) > 0)
		r = add(sysv, line);
	return r < 0 || ferror(file) ? rb_err_set(err, r < 0 ? r : -EIO, "read '%s'", LIST) : 0;
}

/* @fd: of the namespace, is taken over */
static int read_list(int fd, struct rb_sysv *ret, struct rb_err *err)
{
	struct rb_sysv now = { .read = true, .fd = fd };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		r = rb_err_set(err, -errno, "look at the container's IPC namespace");
	else
		r = rb_thread_run(look, &now, err);
	if (r < 0) {
		rb_sysv_clear(&now);
		return r;
	}
	now.ipcns = st.st_ino;
	rb_sysv_clear(ret);
	*ret = now;
	return 0;
}

int rb_sysv_read(pid_t pid, struct rb_sysv *ret, struct rb_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : rb_err_set(err, -errno, "open '%s'", path);
	return read_list(fd, ret, err);
}

int rb_sysv_read_again(const struct rb_sysv *was, struct rb_sysv *ret, struct rb_err *err)
{
	int fd = fcntl(was->fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? rb_err_set(err, -errno, "look at the container's IPC namespace")
		      : read_list(fd, ret, err);
}

const struct rb_sysv_entry *rb_sysv_find(const struct rb_sysv *sysv, uint64_t id)
{
	for (size_t i = 0; i < sysv->n; i++)
		if (sysv->list[i].is.inode == id)
			return &sysv->list[i];
	return NULL;
}

bool rb_sysv_is_same(const struct rb_sysv_entry *a, const struct rb_sysv_entry *b)
{
	return a->is.inode == b->is.inode && a->is.size == b->is.size && a->changed == b->changed &&
	       memcmp(&a->is.segment, &b->is.segment, sizeof(a->is.segment)) == 0;
}
