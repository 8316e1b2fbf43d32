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
 * CRIU waits for the images with pages in its action post-setup-namespaces: until then they may be
 * on their way. But segments of System V that are its own it fills before that, while it makes the
 * namespaces; so the same wait is where such an image is opened, too.
 *
 * Words are files in the folder of the arrival (criu/arrival.h). CRIU is woken by the kernel when
 * one is made: it has to share the container's part of the processor already, which may be small.
 */
#include "criu_hold.h"

#include <errno.h>
#include <fcntl.h>
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

/* The folder of the words, and the one for images: NULL when this is no restore of ours. Return:
 * false when the folder's name is too long */
static bool find_words(char dir[PATH_MAX], const char **ret_word)
{
	const char *path = getenv("REBERTH_IMAGES"), *slash = path ? strrchr(path, '/') : NULL;

	*ret_word = slash ? slash + 1 : NULL;
	return !slash || snprintf(dir, PATH_MAX, "%.*s", (int)(slash - path), path) < PATH_MAX;
}

bool criu_await_images(const char *image)
{
	char dir[PATH_MAX];
	const char *word;

	if (strcmp(image, "inventory.img") != 0)
		return true;
	return find_words(dir, &word) && (!word || criu_await_word(dir, word));
}

/* "pages-7.img" */
static bool has_pages(const char *image)
{
	unsigned int number;
	int end = 0;

	return sscanf(image, "pages-%u.img%n", &number, &end) == 1 && end > 0 && image[end] == '\0';
}

/* A task may see another root already, and other processes. */
static bool is_there_of(int images, const char *dir, const char *word)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), CRIU_HOST "%s/%s", dir, word) < (int)sizeof(path) &&
	       faccessat(images, path, F_OK, 0) == 0;
}

bool criu_await_pages(int images, const char *image)
{
	char dir[PATH_MAX];
	const char *word;

	if (!has_pages(image))
		return true;
	if (!find_words(dir, &word))
		return false;
	if (!word)
		return true;
	while (!is_there_of(images, dir, "pages")) {
		if (is_there_of(images, dir, "abort") || !is_there_of(images, dir, "."))
			return false;
		poll(NULL, 0, LOOK_UNTOLD_MS);
	}
	return true;
}
