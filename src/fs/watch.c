// SPDX-License-Identifier: Apache-2.0
/*
 * watch.c - the events of fanotify(7), and the trees that they are about
 *
 * One lock for everything: whoever holds it may read events, and handles all that it has read
 * before it lets go. So when watched_take() finds the queue empty, nothing is under way.
 */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "watch_folders.h"

#define EVENTS_BYTES ((size_t)64 << 10)
#define OPEN_TRIES   50
#define OPEN_REST_US 200
#define REST_MS	     10 /* of the thread, between two looks: equal events become one meanwhile */
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#define MAX_FILE_SYSTEMS 16
#define NAMED		 (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO)
#define CONTENT		 (FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE)
#define WATCHED		 (NAMED | CONTENT | FAN_DELETE_SELF | FAN_ONDIR)
#define FOLDER_BYTES	 ((size_t)256 << 20)
#define CHANGE_BYTES	 ((size_t)64 << 20)

struct file_system {
	fsid_t id;
	dev_t dev;
	size_t trees; /* on it; 0: this one is not in use */
};

struct watched {
	struct rb_watch *watch;
	struct watched *next;
	int root_fd;
	int fs;	   /* index; -1: it cannot be watched */
	bool lost; /* all of it must be compared */
	struct watch_changes changes;
};

struct rb_watch {
	pthread_mutex_t lock;
	pthread_t thread;
	bool has_thread;
	int group_fd, stop_fd;
	char why[160];
	struct rb_watch_limits limits;
	struct file_system systems[MAX_FILE_SYSTEMS];
	struct watched *trees;
	struct watch_folders folders;
	char *events; /* EVENTS_BYTES */
};

/* What an event says. */
struct happened {
	uint64_t mask;
	int fs;
	const struct file_handle *folder, *inode;
	const char *name;
};

void watch_changes_release(struct watch_changes *changes)
{
	path_set_free(&changes->paths);
	number_set_free(&changes->inodes);
}

static void lose(struct watched *tree)
{
	tree->lost = true;
	watch_changes_release(&tree->changes);
}

/* @fs: -1 for all */
static void lose_all(struct rb_watch *watch, int fs)
{
	for (struct watched *tree = watch->trees; tree; tree = tree->next)
		if (fs < 0 || tree->fs == fs)
			lose(tree);
}

static void check_size(struct watched *tree)
{
	if (path_set_bytes(&tree->changes.paths) +
		    tree->changes.inodes.size * sizeof(*tree->changes.inodes.numbers) >
	    tree->watch->limits.change_bytes)
		lose(tree);
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
		lose(tree);
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
			lose(tree);
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

static void note_content(struct rb_watch *watch, const struct happened *event)
{
	const struct watched *tree = tree_on(watch, event->fs);
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (!tree)
		return;
	fd = open_inode(tree->root_fd, event->inode);
	/* it has no name any more, in no tree */
	if (fd == -ESTALE || fd == -ENOENT)
		return;
	if (fd < 0 || fstat(fd, &st) < 0)
		lose_all(watch, event->fs);
	else
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

	if (event->inode && (event->mask & CONTENT))
		note_content(watch, event);
	if (!event->folder)
		return;
	/* of a file's own, only the inode counts */
	if ((event->mask & NAMED) || (itself && (event->mask & FAN_ATTRIB)))
		while ((folder = watch_folders_find(&watch->folders, event->fs, event->folder,
						    folder)))
			note_path(folder->tree, folder->path, event->name ?: ".",
				  flags_of(event->mask));
	if (itself && (event->mask & FAN_DELETE_SELF))
		watch_folders_remove(&watch->folders, event->fs, event->folder);
}

static int system_of(const struct rb_watch *watch, const void *fsid)
{
	for (int i = 0; i < MAX_FILE_SYSTEMS; i++)
		if (watch->systems[i].trees &&
		    memcmp(&watch->systems[i].id, fsid, sizeof(fsid_t)) == 0)
			return i;
	return -1;
}

/* Return: false when it is nothing that we know. */
static bool parse(const struct rb_watch *watch, const struct fanotify_event_metadata *event,
		  struct happened *ret)
{
	const char *at = (const char *)event + event->metadata_len,
		   *end = (const char *)event + event->event_len;

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
		fs = system_of(watch, &info->fsid);
		if (fs < 0 || (ret->fs >= 0 && ret->fs != fs) || info->hdr.len == 0)
			return false;
		ret->fs = fs;
		at += info->hdr.len;
	}
	return ret->fs >= 0;
}

/* Until there are no more; with the lock held. */
static void read_events(struct rb_watch *watch)
{
	ssize_t n;

	while ((n = read(watch->group_fd, watch->events, EVENTS_BYTES)) > 0 ||
	       (n < 0 && errno == EINTR)) {
		const struct fanotify_event_metadata *event = (const void *)watch->events;
		struct happened happened;

		for (; FAN_EVENT_OK(event, n); event = FAN_EVENT_NEXT(event, n)) {
			if ((event->mask & FAN_Q_OVERFLOW) ||
			    event->vers != FANOTIFY_METADATA_VERSION ||
			    !parse(watch, event, &happened))
				lose_all(watch, -1);
			else
				note(watch, &happened);
		}
	}
	if (n == 0 || errno != EAGAIN)
		lose_all(watch, -1);
}

static void *watch_main(void *arg)
{
	struct rb_watch *watch = arg;
	struct pollfd fds[] = { { .fd = watch->stop_fd, .events = POLLIN },
				{ .fd = watch->group_fd, .events = POLLIN } };

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break; /* the queue overflows then, which is noticed */
		if (fds[0].revents)
			break;
		pthread_mutex_lock(&watch->lock);
		read_events(watch);
		pthread_mutex_unlock(&watch->lock);
		if (poll(fds, 1, REST_MS) > 0)
			break;
	}
	return NULL;
}

static int start_thread(struct rb_watch *watch)
{
	sigset_t all, before;
	int r;

	watch->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (watch->stop_fd < 0)
		return -errno;
	/* signals are for the thread that there always is */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&watch->thread, NULL, watch_main, watch);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	watch->has_thread = r == 0;
	return -r;
}

int rb_watch_open(const struct rb_watch_limits *limits, struct rb_watch **ret, struct rb_err *err)
{
	struct rb_watch *watch = calloc(1, sizeof(*watch));
	int r = 0;

	if (!watch)
		return rb_err_set(err, -ENOMEM, "watch files");
	watch->group_fd = watch->stop_fd = -EBADF;
	pthread_mutex_init(&watch->lock, NULL);
	watch->limits.folder_bytes = limits && limits->folder_bytes ? limits->folder_bytes
								    : FOLDER_BYTES;
	watch->limits.change_bytes = limits && limits->change_bytes ? limits->change_bytes
								    : CHANGE_BYTES;
	watch->events = malloc(EVENTS_BYTES);
	if (!watch->events) {
		rb_watch_close(watch);
		return rb_err_set(err, -ENOMEM, "watch files");
	}
	*ret = watch;
	if (!watch_sees_overlay()) {
		snprintf(watch->why, sizeof(watch->why),
			 "this kernel does not report what is written through an overlay");
		return 0;
	}
	watch->group_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK |
						FAN_REPORT_DFID_NAME | FAN_REPORT_FID,
					O_RDONLY);
	r = watch->group_fd < 0 ? -errno : start_thread(watch);
	if (r < 0) {
		snprintf(watch->why, sizeof(watch->why), "fanotify: %s", strerror(-r));
		rb_close_fd(&watch->group_fd);
	}
	return 0;
}

void rb_watch_close(struct rb_watch *watch)
{
	if (!watch)
		return;
	if (watch->has_thread) {
		eventfd_write(watch->stop_fd, 1);
		pthread_join(watch->thread, NULL);
	}
	watch_folders_free(&watch->folders);
	pthread_mutex_destroy(&watch->lock);
	rb_close_fd(&watch->group_fd);
	rb_close_fd(&watch->stop_fd);
	free(watch->events);
	free(watch);
}

const char *rb_watch_why(const struct rb_watch *watch)
{
	return watch->why;
}

/* Local ones, with one number for all that is in them. Of one that others write to over a network
 * not all is reported here. */
static bool can_be_watched(const struct statfs *fs)
{
	return fs->f_type == EXT4_SUPER_MAGIC || fs->f_type == XFS_SUPER_MAGIC ||
	       fs->f_type == TMPFS_MAGIC;
}

/* Return: index, or negative errno */
static int mark_system(struct rb_watch *watch, int root_fd)
{
	struct statfs fs;
	struct stat st;
	int i;

	if (fstatfs(root_fd, &fs) < 0 || fstat(root_fd, &st) < 0)
		return -errno;
	if (watch->group_fd < 0 || !can_be_watched(&fs))
		return -EOPNOTSUPP;
	i = system_of(watch, &fs.f_fsid);
	/* a copy of a file system has its number, too */
	if (i >= 0)
		return watch->systems[i].dev == st.st_dev ? i : -EEXIST;
	for (i = 0; i < MAX_FILE_SYSTEMS && watch->systems[i].trees; i++)
		;
	if (i == MAX_FILE_SYSTEMS)
		return -E2BIG;
	if (fanotify_mark(watch->group_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, WATCHED, root_fd,
			  NULL) < 0)
		return -errno;
	watch->systems[i].id = fs.f_fsid;
	watch->systems[i].dev = st.st_dev;
	return i;
}

int watch_tree(struct rb_watch *watch, int root_fd, struct watched **ret)
{
	struct watched *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return -ENOMEM;
	tree->watch = watch;
	tree->root_fd = root_fd;
	tree->lost = true;
	pthread_mutex_lock(&watch->lock);
	tree->fs = mark_system(watch, root_fd);
	if (tree->fs >= 0) {
		watch->systems[tree->fs].trees++;
	} else if (!*watch->why) {
		snprintf(watch->why, sizeof(watch->why), "fanotify refuses a file system: %s",
			 strerror(-tree->fs));
	}
	tree->next = watch->trees;
	watch->trees = tree;
	pthread_mutex_unlock(&watch->lock);
	*ret = tree;
	return 0;
}

void watch_forget(struct watched *tree)
{
	struct rb_watch *watch;
	struct watched **at;

	if (!tree)
		return;
	watch = tree->watch;
	pthread_mutex_lock(&watch->lock);
	watch_folders_remove_tree(&watch->folders, tree);
	for (at = &watch->trees; *at != tree; at = &(*at)->next)
		;
	*at = tree->next;
	if (tree->fs >= 0 && watch->systems[tree->fs].trees == 1) {
		fanotify_mark(watch->group_fd, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM, WATCHED,
			      tree->root_fd, NULL);
		/* what it still reported, while its number is known */
		read_events(watch);
	}
	if (tree->fs >= 0)
		watch->systems[tree->fs].trees--;
	pthread_mutex_unlock(&watch->lock);
	watch_changes_release(&tree->changes);
	free(tree);
}

void watched_restart(struct watched *tree)
{
	struct rb_watch *watch = tree->watch;

	if (tree->fs < 0)
		return;
	pthread_mutex_lock(&watch->lock);
	watch_folders_remove_tree(&watch->folders, tree);
	watch_changes_release(&tree->changes);
	/* what has happened until now a walk finds by itself, an overflow too */
	read_events(watch);
	watch_changes_release(&tree->changes);
	tree->lost = false;
	pthread_mutex_unlock(&watch->lock);
}

void watched_folder(struct watched *tree, int dir_fd, const char *path)
{
	struct rb_watch *watch;

	if (!tree || tree->fs < 0)
		return;
	watch = tree->watch;
	pthread_mutex_lock(&watch->lock);
	if (!tree->lost && (watch_folders_put(&watch->folders, tree->fs, dir_fd, tree, path) < 0 ||
			    watch->folders.bytes > watch->limits.folder_bytes))
		lose(tree);
	if (tree->lost)
		watch_folders_remove_tree(&watch->folders, tree);
	pthread_mutex_unlock(&watch->lock);
}

int watched_take(struct watched *tree, struct watch_changes *ret)
{
	struct rb_watch *watch = tree->watch;
	int taken = 0;

	*ret = (struct watch_changes){};
	if (tree->fs < 0)
		return 0;
	pthread_mutex_lock(&watch->lock);
	read_events(watch);
	if (!tree->lost) {
		*ret = tree->changes;
		tree->changes = (struct watch_changes){};
		number_set_sort(&ret->inodes);
		taken = 1;
	}
	pthread_mutex_unlock(&watch->lock);
	return taken;
}
