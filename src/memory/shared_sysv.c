// SPDX-License-Identifier: Apache-2.0
/*
 * shared_sysv.c - which segments of System V shared memory a container has, on the source
 *
 * The inode number of a segment is its id, and holding it open does not keep that. So one is only
 * what it was when all that the kernel tells of it is the same, the time of its last change
 * included; otherwise it is taken for another. What changed after the last look is left to CRIU, as
 * are those of a container whose processes are in several IPC namespaces, or in the host's.
 */
#include "shared.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "shared_internal.h"
#include "sysv.h"

#define NO_ID UINT64_MAX /* that no segment has */

/*
 * @ret: NULL: it is none of the container's any more, or may not be known
 *
 * Return: negative errno when that cannot be told now: the process has ended meanwhile, or there is
 * no memory.
 */
static int which(struct rb_shared *shared, pid_t pid, uint64_t id, const struct rb_sysv_entry **ret)
{
	ino_t ipcns;
	int r = rb_sysv_ipcns(pid, &ipcns);

	*ret = NULL;
	if (r < 0 || ipcns == 0)
		return r;
	if (!shared->sysv_is_new)
		r = rb_sysv_read(pid, &shared->sysv, NULL);
	if (r < 0)
		return r;
	shared->sysv_is_new = true;
	if (shared->sysv.ipcns == ipcns)
		*ret = rb_sysv_find(&shared->sysv, id);
	return 0;
}

static bool is_same(const struct rb_shared_object *object, const struct rb_sysv_entry *entry)
{
	return entry && rb_sysv_is_same(&object->entry, entry);
}

/* One that is not what it was is another, with the same id. What cannot be told now can be at the
 * next look, or when the container stands still. */
int rb_shared_consider_segment(struct rb_shared *shared, pid_t pid, const char *path, uint64_t id,
			       struct rb_err *err)
{
	struct rb_shared_object *object =
		rb_shared_find(shared, RB_OBJECT_SEGMENT, shared->device, id);
	const struct rb_sysv_entry *entry;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	if (object && object->seen)
		return 0;
	r = which(shared, pid, id, &entry);
	if (object && (r < 0 || is_same(object, entry))) {
		object->seen = true;
		return 0;
	}
	if (object)
		object->is.inode = NO_ID;
	fd = entry ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -EBADF;
	if (!rb_shared_is_fit(shared, fd, &st) || st.st_ino != id ||
	    (uint64_t)st.st_size != entry->is.size)
		return 0;
	r = rb_shared_hold(shared, &st, &entry->is, &fd, &object, err);
	if (r >= 0)
		object->entry = *entry;
	return r;
}

void rb_shared_settle_segments(struct rb_shared *shared)
{
	for (size_t i = 0; shared->sysv_is_new && i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];

		if (object->is.kind == RB_OBJECT_SEGMENT &&
		    !is_same(object, rb_sysv_find(&shared->sysv, object->is.inode)))
			object->seen = false;
	}
}

/* What became of a segment between the last look and the freeze shows here. Who had it then may be
 * gone, but not its namespace. */
void rb_shared_forget_changed(struct rb_shared *shared)
{
	struct rb_sysv now = {};
	bool any = false;

	for (size_t i = 0; i < shared->n; i++)
		any = any || shared->list[i]->is.kind == RB_OBJECT_SEGMENT;
	if (any)
		rb_sysv_read_again(&shared->sysv, &now, NULL);
	for (size_t i = 0; i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];

		object->seen = object->is.kind != RB_OBJECT_SEGMENT ||
			       is_same(object, rb_sysv_find(&now, object->is.inode));
	}
	rb_sysv_clear(&now);
	rb_shared_forget_unseen(shared, 0);
}
