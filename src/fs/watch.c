// SPDX-License-Identifier: Apache-2.0
/*
 * watch.c - the trees that are watched, and the thread that reads the events
 *
 * One lock for everything: whoever holds it may read events, and handles all that it has read
 * before it lets go. So when watched_take() finds the queue empty, nothing is under way.
 */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "watch_internal.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#define REST_MS	     10 /* of the thread, between two looks: equal events become one meanwhile */
#define FOLDER_BYTES ((size_t)256 << 20)
#define CHANGE_BYTES ((size_t)64 << 20)

void watch_changes_release(struct watch_changes *changes)
{
	path_set_free(&changes->paths);
	number_set_free(&changes->inodes);
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
		watch_read_events(watch);
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
	watch->events = malloc(WATCH_EVENTS_BYTES);
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
	i = watch_system_of(watch, &fs.f_fsid);
	/* a copy of a file system has its number, too */
	if (i >= 0)
		return watch->systems[i].dev == st.st_dev ? i : -EEXIST;
	for (i = 0; i < WATCH_FILE_SYSTEMS && watch->systems[i].trees; i++)
		;
	if (i == WATCH_FILE_SYSTEMS)
		return -E2BIG;
	if (fanotify_mark(watch->group_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, WATCH_ALL, root_fd,
			  NULL) < 0)
		return -errno;
	watch->systems[i].id = fs.f_fsid;
	watch->systems[i].dev = st.st_dev;
	watch->systems[i].is_ext4 = fs.f_type == EXT4_SUPER_MAGIC;
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
		fanotify_mark(watch->group_fd, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM, WATCH_ALL,
			      tree->root_fd, NULL);
		/* what it still reported, while its number is known */
		watch_read_events(watch);
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
	watch_read_events(watch);
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
		watch_lose(tree);
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
	watch_read_events(watch);
	if (!tree->lost) {
		*ret = tree->changes;
		tree->changes = (struct watch_changes){};
		number_set_sort(&ret->inodes);
		taken = 1;
	}
	pthread_mutex_unlock(&watch->lock);
	return taken;
}
