/* SPDX-License-Identifier: Apache-2.0 */
/* folder.h - a folder of the test's own */
#pragma once

#include <stdio.h>

/* mkdtemp(3) gives it its name */
static char top[] = "/tmp/test_cmd.XXXXXX";

/* path of a file in it; good until the fourth call from then */
static inline const char *in(const char *name)
{
	static char paths[4][256];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}
