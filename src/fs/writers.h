/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writers.h - who may write to a file without anybody hearing of it (inside of fs/ only)
 *
 * - Who has it mapped shared, and opened it for writing: a store to a clean page moves the file's
 * times, the following ones do not until the page was written back. mprotect(2) takes the right to
 * write away and leaves dirty pages, so what counts is the descriptor's mode, which the links in
 *   /proc/PID/map_files have.
 * - Who has it open for writing, and a ring of io_submit(2): times move when such a write begins,
 * and with O_DIRECT it may end any time after. No event tells.
 * - Who has it open for writing: splice(2) and sendfile(2) to a file of an overlay move its times,
 * but give no event below the overlay (Linux 6.18, fs/backing-file.c). So its times must be looked
 * at.
 *
 * A file that was open, or mapped, and is not any more, has had an event (FAN_CLOSE_WRITE). Not
 * found is one that is open only in a message under way in a socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct rb_err;

struct writer {
	struct stat st;	  /* as its own file system, or overlay, has it */
	const char *path; /* where the process opened it; "" when that is not known */
	bool overlay;	  /* on one */
	dev_t mount_dev;  /* of its overlay as a whole, as its folders have it; 0: not known */
	bool unseen;	  /* what it writes need not move the file's times */
	bool unknown; /* it has something mapped, and not for long enough to see what: nothing else
			 is set */
};

/**
 * writers_each - call @fn for each regular file that one of the processes may write to so
 * @fn: negative ends it
 *
 * A file may come several times, a process whose mappings change all the time may come as unknown;
 * one without any name does not come. A process that is gone is passed over. Needs CAP_SYS_PTRACE
 * or root.
 *
 * Return: 0, what @fn returned, or negative errno.
 */
int writers_each(const pid_t *pids, size_t n, int (*fn)(const struct writer *writer, void *arg),
		 void *arg, struct rb_err *err);
