// SPDX-License-Identifier: Apache-2.0
/* watch_events.c - what the events of fanotify(7) say of which trees */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "watch_internal.h"

#define FILEID_INO32_GEN 1 /* of a handle: the kernel's include/linux/exportfs.h */
#define OPEN_TRIES	 50
#define OPEN_REST_US	 200

/* What an event says. */
struct happened {
	uint64_t mask;
	int fs;
	const struct file_handle *folder, *inode;
	const char *name;
};

void watch_lose(struct watched *tree)
{
	tree->lost = true;
	watch_changes_release(&tree->changes);
}

/* @fs: -1 for all */
static void lose_all(struct rb_watch *watch, int fs)
{
	for (struct watched *tree = watch->trees; tree; tree = tree->next)
		if (fs < 0 || tree->fs == fs)
			watch_lose(tree);
}

static void check_size(struct watched *tree)
{
	if (path_set_bytes(&tree->changes.paths) +
		    tree->changes.inodes.size * sizeof(*tree->changes.inodes.numbers) >
	    tree->watch->limits.change_bytes)
		watch_lose(tree);
}

static void note_path(struct watched *tree, const char *folder, const char *name, uint32_t flags)
{
	char path[PATH_MAX];
	int r;

	if (tree->lost)
		return;
	if (strcmp(name, ".") == 0)
		r = rb_path(path, sizeof(path), "%s", folder);
	else
		r = rb_path(path, sizeof(path), "%s%s%s", folder, *folder ? "/" : "", name);
	if (r == 0)
		r = path_set_add(&tree->changes.paths, path, flags);
	/* too long: a walk says so */
	if (r < 0)
		watch_lose(tree);
	else
		check_size(tree);
}

/* Any tree of the file system may have a name of it. */
static void note_inode(struct rb_watch *watch, int fs, uint64_t inode)
{
	for (struct watched *tree = watch->trees; tree; tree = tree->next) {
		if (tree->fs != fs || tree->lost)
			continue;
		if (number_set_add(&tree->changes.inodes, inode) < 0)
			watch_lose(tree);
		else
			check_size(tree);
	}
}

static const struct watched *tree_on(const struct rb_watch *watch, int fs)
{
	const struct watched *tree = watch->trees;

	while (tree && tree->fs != fs)
		tree = tree->next;
	return tree;
}

/* ENOMEM stands also for an inode that is being made at this moment, with the number of one that is
 * gone (the kernel's iget_locked()): a moment later it says ESTALE. */
static int open_inode(int root_fd, const struct file_handle *handle)
{
	int fd = -EBADF;

	for (int tries = 0; tries < OPEN_TRIES; tries++) {
		fd = open_by_handle_at(root_fd, (struct file_handle *)handle, O_PATH | O_CLOEXEC);
		if (fd >= 0 || errno != ENOMEM)
			break;
		usleep(OPEN_REST_US);
	}
	return fd < 0 ? -errno : fd;
}

/* Number of an inode, without asking, or 0. In the handles of ext4 it comes first, its generation
 * second (the kernel's generic_encode_ino32_fh()). It may be gone, and the number another file's:
 * that one is only sent once more. */
static uint64_t number_in(const struct rb_watch *watch, const struct happened *event)
{
	uint32_t number;

	if (!watch->systems[event->fs].is_ext4 || event->inode->handle_type != FILEID_INO32_GEN ||
	    event->inode->handle_bytes != 2 * sizeof(number))
		return 0;
	memcpy(&number, event->inode->f_handle, sizeof(number));
	return number;
}

static void note_content(struct rb_watch *watch, const struct happened *event)
{
	const struct watched *tree = tree_on(watch, event->fs);
	_cleanup_close_ int fd = -EBADF;
	struct stat st = { .st_ino = number_in(watch, event) };

	if (!tree)
		return;
	if (!st.st_ino) {
		fd = open_inode(tree->root_fd, event->inode);
		/* it has no name any more, in no tree */
		if (fd == -ESTALE || fd == -ENOENT)
			return;
		if (fd < 0 || fstat(fd, &st) < 0)
			return lose_all(watch, event->fs);
	}
	note_inode(watch, event->fs, st.st_ino);
}

static uint32_t flags_of(uint64_t mask)
{
	uint32_t flags = WATCH_LOOK;

	if (mask & (FAN_CREATE | FAN_MOVED_TO | FAN_ATTRIB))
		flags |= WATCH_SEND;
	if ((mask & FAN_ONDIR) && (mask & (FAN_CREATE | FAN_MOVED_TO)))
		flags |= WATCH_DEEP;
	return flags;
}

static void note(struct rb_watch *watch, const struct happened *event)
{
	bool itself = event->name && strcmp(event->name, ".") == 0;
	struct watch_folder *folder = NULL;

	/* what is deleted has no name any more */
	if (event->inode && (event->mask & WATCH_CONTENT) && !(event->mask & FAN_DELETE_SELF))
		note_content(watch, event);
	if (!event->folder)
		return;
	/* of a file's own, only the inode counts */
	if ((event->mask & WATCH_NAMED) || (itself && (event->mask & FAN_ATTRIB)))
		while ((folder = watch_folders_find(&watch->folders, event->fs, event->folder,
						    folder)))
			note_path(folder->tree, folder->path, event->name ?: ".",
				  flags_of(event->mask));
	if (itself && (event->mask & FAN_DELETE_SELF))
		watch_folders_remove(&watch->folders, event->fs, event->folder);
}

int watch_system_of(const struct rb_watch *watch, const void *fsid)
{
	for (int i = 0; i < WATCH_FILE_SYSTEMS; i++)
		if (watch->systems[i].trees &&
		    memcmp(&watch->systems[i].id, fsid, sizeof(fsid_t)) == 0)
			return i;
	return -1;
}

/* Return: false when it is nothing that we know. */
static bool parse(const struct rb_watch *watch, const struct fanotify_event_metadata *event,
		  const char *data, struct happened *ret)
{
	const char *at = data + event->metadata_len, *end = data + event->event_len;

	*ret = (struct happened){ .mask = event->mask, .fs = -1 };
	while (at < end) {
		const struct fanotify_event_info_fid *info = (const void *)at;
		const struct file_handle *handle = (const void *)info->handle;
		int fs;

		switch (info->hdr.info_type) {
		case FAN_EVENT_INFO_TYPE_DFID_NAME:
			ret->name = (const char *)handle->f_handle + handle->handle_bytes;
			ret->folder = handle;
			break;
		case FAN_EVENT_INFO_TYPE_DFID:
			ret->folder = handle;
			break;
		case FAN_EVENT_INFO_TYPE_FID:
			ret->inode = handle;
			break;
		default:
			return false;
		}
		fs = watch_system_of(watch, &info->fsid);
		if (fs < 0 || (ret->fs >= 0 && ret->fs != fs) || info->hdr.len == 0)
			return false;
		ret->fs = fs;
		at += info->hdr.len;
	}
	return ret->fs >= 0;
}

/* Until there are no more; with the lock held. */
void watch_read_events(struct rb_watch *watch)
{
	struct fanotify_event_metadata event; /* a copy: the kernel aligns them to 4 bytes only */
	struct happened happened;
	ssize_t n;

	while ((n = read(watch->group_fd, watch->events, WATCH_EVENTS_BYTES)) > 0 ||
	       (n < 0 && errno == EINTR)) {
		for (const char *at = watch->events; n > 0; at += event.event_len) {
			memcpy(&event, at, sizeof(event));
			if (event.event_len < sizeof(event)) {
				lose_all(watch, -1);
				break;
			}
			n -= event.event_len;
			if ((event.mask & FAN_Q_OVERFLOW) ||
			    event.vers != FANOTIFY_METADATA_VERSION ||
			    !parse(watch, &event, at, &happened))
				lose_all(watch, -1);
			else
				note(watch, &happened);
		}
	}
	if (n == 0 || errno != EAGAIN)
		lose_all(watch, -1);
}
