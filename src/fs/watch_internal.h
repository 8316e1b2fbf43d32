/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_internal.h - what the two halves of a watch share: watch.c has the trees, watch_events.c
 * the events
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/statfs.h>
#include <sys/types.h>

#include "watch.h"
#include "watch_folders.h"

#define WATCH_EVENTS_BYTES ((size_t)64 << 10)
#define WATCH_FILE_SYSTEMS 16
#define WATCH_NAMED	   (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO)
#define WATCH_CONTENT	   (FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE)
#define WATCH_ALL	   (WATCH_NAMED | WATCH_CONTENT | FAN_DELETE_SELF | FAN_ONDIR)

struct file_system {
	fsid_t id;
	dev_t dev;
	bool is_ext4;
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
	struct file_system systems[WATCH_FILE_SYSTEMS];
	struct watched *trees;
	struct watch_folders folders;
	char *events; /* WATCH_EVENTS_BYTES */
};

/** watch_read_events - until there are no more; with the lock held */
void watch_read_events(struct rb_watch *watch);

/** watch_lose - all of a tree must be compared */
void watch_lose(struct watched *tree);

/** watch_system_of - index of a file system by its number, or -1 */
int watch_system_of(const struct rb_watch *watch, const void *fsid);
