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

#define NONE UINT64_MAX /* an id that no segment has */

/* Return: NULL when it is none of the container's, or may not be known any more */
static const struct rb_sysv_entry *which(struct rb_shared *shared, pid_t pid, uint64_t id)
{
	ino_t ipcns = rb_sysv_ipcns(pid);

	if (ipcns == 0)
		return NULL;
	if (!shared->sysv.read && rb_sysv_read(pid, &shared->sysv, NULL) < 0)
		return NULL;
	if (shared->sysv.ipcns != ipcns)
		return NULL;
	shared->whose = pid;
	return rb_sysv_find(&shared->sysv, id);
}

/* One that is not what it was is another, with the same id. */
int rb_shared_consider_segment(struct rb_shared *shared, pid_t pid, const char *path, uint64_t id,
			       struct rb_err *err)
{
	struct rb_shared_object *object = rb_shared_find(shared, true, id);
	const struct rb_sysv_entry *entry;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	if (object && object->seen)
		return 0;
	entry = which(shared, pid, id);
	if (object && entry && rb_sysv_is_same(&object->entry, entry)) {
		object->seen = true;
		return 0;
	}
	if (object)
		object->is.inode = NONE;
	fd = entry ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -EBADF;
	if (!rb_shared_is_fit(shared, fd, &st) || st.st_ino != id ||
	    (uint64_t)st.st_size != entry->is.size)
		return 0;
	r = rb_shared_hold(shared, &st, &entry->is, &fd, &object, err);
	if (r >= 0)
		object->entry = *entry;
	return r;
}

/* What became of a segment between the last look and the freeze shows here. */
void rb_shared_forget_changed(struct rb_shared *shared)
{
	struct rb_sysv now = {};
	bool any = false;

	for (size_t i = 0; i < shared->n; i++)
		any = any || shared->list[i]->is.is_segment;
	if (any && rb_sysv_ipcns(shared->whose) == shared->sysv.ipcns)
		rb_sysv_read(shared->whose, &now, NULL);
	for (size_t i = 0; i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];
		const struct rb_sysv_entry *entry = rb_sysv_find(&now, object->is.inode);

		object->seen = !object->is.is_segment ||
			       (entry && rb_sysv_is_same(&object->entry, entry));
	}
	rb_sysv_clear(&now);
	rb_shared_end(shared);
}
