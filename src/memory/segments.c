// SPDX-License-Identifier: Apache-2.0
/*
 * segments.c - an IPC namespace with segments, on the target
 *
 * A thread makes the namespace, and others go there for a moment, for each segment. The kernel
 * gives a segment the id that was written to kernel.shm_next_id, and its maker as creator.
 *
 * Its memory is had by /proc/self/map_files, as an open file: then nobody need be attached. But one
 * that was removed at the source and is there until the last has detached it (SHM_DEST) is made
 * like that here, too, which CRIU would not do.
 */
#include "segments.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "record.h"
#include "thread.h"

#define NEXT_ID	    "/proc/sys/kernel/shm_next_id"
#define PERMISSIONS 0777

struct rb_segments {
	int ipcns;
};

struct call {
	int ipcns; /* what is made, or where to go */
	const struct rb_object *is;
	int id, fd;
	void *held;
};

static int make_namespace(void *arg, struct rb_err *err)
{
	struct call *call = arg;

	if (unshare(CLONE_NEWIPC) < 0)
		return rb_err_set(err, -errno, "make an IPC namespace");
	call->ipcns = open("/proc/thread-self/ns/ipc", O_RDONLY | O_CLOEXEC);
	return call->ipcns < 0 ? rb_err_set(err, -errno, "open an IPC namespace") : 0;
}

int rb_segments_new(struct rb_segments **ret, struct rb_err *err)
{
	struct rb_segments *segments = calloc(1, sizeof(*segments));
	struct call call = { .ipcns = -EBADF };
	int r = segments ? rb_thread_run(make_namespace, &call, err)
			 : rb_err_set(err, -ENOMEM, "make an IPC namespace");

	if (r < 0) {
		free(segments);
		return r;
	}
	segments->ipcns = call.ipcns;
	*ret = segments;
	return 0;
}

void rb_segments_free(struct rb_segments *segments)
{
	if (!segments)
		return;
	rb_close_fd(&segments->ipcns);
	free(segments);
}

/* This thread alone: glibc's functions would have all of them change. */
static int become(uid_t uid, gid_t gid)
{
	if (syscall(SYS_setresgid, -1, gid, -1) < 0 || syscall(SYS_setresuid, -1, uid, -1) < 0)
		return -errno;
	return 0;
}

/* The kernel takes who changes users for a process with secrets. */
static int become_root(int dumpable)
{
	if (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setresgid, -1, 0, -1) < 0)
		return -errno;
	if (dumpable == 1)
		prctl(PR_SET_DUMPABLE, 1);
	return 0;
}

/* what a user reads when the move fails for it */
static int cannot_make(const struct rb_object *is, int why, struct rb_err *err)
{
	return rb_err_set(
		err, why, "make System V segment %d (key 0x%08x, %llu bytes) on the target",
		(int)is->inode, (unsigned int)is->segment.key, (unsigned long long)is->size);
}

/* The id first: who is no longer root may not say which. */
static int get(const struct rb_object *is, struct rb_err *err)
{
	const struct rb_segment *segment = &is->segment;
	int flags = (int)(segment->mode & PERMISSIONS) | IPC_CREAT | IPC_EXCL, id, r;
	int dumpable = prctl(PR_GET_DUMPABLE);
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)is->inode);
	r = rb_write_knob(NEXT_ID, text, err);
	if (r < 0)
		return r;
	id = become(segment->cuid, segment->cgid);
	if (id >= 0) {
		id = shmget(segment->key, is->size, flags);
		id = id < 0 ? -errno : id;
	}
	r = become_root(dumpable);
	if (r < 0 || id < 0)
		return cannot_make(is, r < 0 ? r : id, err);
	if (id != (int)is->inode) {
		shmctl(id, IPC_RMID, NULL);
		return cannot_make(is, -EEXIST, err);
	}
	return 0;
}

static int give(int id, const struct rb_segment *segment)
{
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	ds.shm_perm.uid = segment->uid;
	ds.shm_perm.gid = segment->gid;
	return shmctl(id, IPC_SET, &ds) < 0 ? -errno : 0;
}

static int open_memory(const void *at, size_t len)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		 (unsigned long)at + (unsigned long)len);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* One that ends with its last user has to have one. That is this process, and no child of it. */
static int hold(int id, const void *at, size_t len)
{
	if (madvise((void *)at, len, MADV_DONTFORK) < 0 || shmctl(id, IPC_RMID, NULL) < 0)
		return -errno;
	return 0;
}

static int attach(struct call *call)
{
	size_t len = (call->is->size + RB_PAGE_SIZE - 1) & ~(size_t)(RB_PAGE_SIZE - 1);
	bool held = call->is->segment.mode & SHM_DEST;
	int id = (int)call->is->inode, r;
	void *at = shmat(id, NULL, 0);

	if (at == (void *)-1)
		return -errno;
	r = call->fd = open_memory(at, len);
	if (r >= 0 && held)
		r = hold(id, at, len);
	if (r >= 0 && held)
		call->held = at;
	else
		shmdt(at);
	return r;
}

static int make(void *arg, struct rb_err *err)
{
	struct call *call = arg;
	int id = (int)call->is->inode, r;

	if (setns(call->ipcns, CLONE_NEWIPC) < 0)
		return rb_err_set(err, -errno, "enter an IPC namespace");
	r = get(call->is, err);
	if (r < 0)
		return r;
	r = give(id, &call->is->segment);
	if (r >= 0)
		r = attach(call);
	if (r >= 0)
		return 0;
	shmctl(id, IPC_RMID, NULL);
	rb_close_fd(&call->fd);
	return cannot_make(call->is, r, err);
}

int rb_segments_make(const struct rb_segments *segments, const struct rb_object *is,
		     void **ret_held, struct rb_err *err)
{
	struct call call = { .ipcns = segments->ipcns, .is = is, .fd = -EBADF };
	int r = rb_thread_run(make, &call, err);

	if (r < 0)
		return r;
	*ret_held = call.held;
	return call.fd;
}

static int remove_it(void *arg, struct rb_err *err)
{
	const struct call *call = arg;

	if (setns(call->ipcns, CLONE_NEWIPC) < 0)
		return rb_err_set(err, -errno, "enter an IPC namespace");
	if (shmctl(call->id, IPC_RMID, NULL) < 0 && errno != EINVAL && errno != EIDRM)
		return rb_err_set(err, -errno, "remove a segment");
	return 0;
}

int rb_segments_remove(const struct rb_segments *segments, int id)
{
	struct call call = { .ipcns = segments->ipcns, .id = id };

	return rb_thread_run(remove_it, &call, NULL);
}

void rb_segments_let_go(void *held)
{
	if (held)
		shmdt(held);
}

int rb_segments_fd(const struct rb_segments *segments)
{
	return segments->ipcns;
}
