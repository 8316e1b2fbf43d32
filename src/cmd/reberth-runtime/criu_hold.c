// SPDX-License-Identifier: Apache-2.0
/*
 * criu_hold.c - of the library that CRIU gets: it waits for what a restore needs
 *
 * runc and CRIU take 30 ms to start. So on the target they are started while the container still
 * runs at the source, and CRIU stands still where it opens its first image, inventory.img, until
 * they are all there:
 *
 *	$REBERTH_IMAGES		a file, made when the images are here
 *
 * Words are files in the folder of the arrival (criu/arrival.h). CRIU is woken by the kernel when
 * one is made: it has to share the container's part of the processor already, which may be small.
 */
#include "criu_hold.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { LOOK_MS = 50, LOOK_UNTOLD_MS = 1 };

static bool is_there(const char *dir, const char *word)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s", dir, word) < (int)sizeof(path) &&
	       access(path, F_OK) == 0;
}

static void drain(int fd)
{
	char events[4096];

	(void)!read(fd, events, sizeof(events));
}

bool criu_await_word(const char *dir, const char *word)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	bool told = fd >= 0 &&
		    inotify_add_watch(fd, dir, IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF) >= 0;
	struct pollfd pollfd = { .fd = told ? fd : -1, .events = POLLIN };
	pid_t runc = getppid();
	bool here;

	for (;;) {
		/* a placeholder that is killed takes runc along */
		bool wanted = !is_there(dir, "abort") && access(dir, F_OK) == 0 &&
			      getppid() == runc;

		here = wanted && is_there(dir, word);
		if (here || !wanted)
			break;
		if (poll(&pollfd, 1, told ? LOOK_MS : LOOK_UNTOLD_MS) > 0)
			drain(fd);
	}
	if (fd >= 0)
		close(fd);
	return here;
}

bool criu_await_images(const char *image)
{
	const char *path = getenv("REBERTH_IMAGES"), *slash = path ? strrchr(path, '/') : NULL;
	char dir[PATH_MAX];

	if (!slash || strcmp(image, "inventory.img") != 0)
		return true;
	return snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path) < (int)sizeof(dir) &&
	       criu_await_word(dir, slash + 1);
}
