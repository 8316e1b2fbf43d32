// SPDX-License-Identifier: Apache-2.0
/*
 * criu_hold.c - of the library that CRIU gets: a restore that has begun before there are images
 *
 * runc and CRIU take 30 ms to start. So on the target they are started while the container still
 * runs at the source, and CRIU stands still where it opens its first image, inventory.img, until
 * they are all there:
 *
 *	$REBERTH_IMAGES		a file, made when the images are here
 *
 * Beside it a file "abort", or no folder any more, means that there will be none. The image is not
 * found then, and CRIU gives up, as it does when its parent is gone, which waits for it.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "criu_hold.h"

enum { LOOK_US = 200 };

bool criu_await_images(const char *image)
{
	const char *word = getenv("REBERTH_IMAGES"), *slash = word ? strrchr(word, '/') : NULL;
	char abort[PATH_MAX];
	pid_t parent = getppid();

	if (!slash || strcmp(image, "inventory.img") != 0)
		return true;
	snprintf(abort, sizeof(abort), "%.*s/abort", (int)(slash - word), word);
	while (access(word, F_OK) < 0) {
		bool there = access(abort, F_OK) < 0 && errno == ENOENT;

		/* the folder, without the slash */
		abort[slash - word] = '\0';
		there = there && access(abort, F_OK) == 0;
		abort[slash - word] = '/';
		if (!there || getppid() != parent)
			return false;
		usleep(LOOK_US);
	}
	return true;
}
