// SPDX-License-Identifier: Apache-2.0
/*
 * tmpfs.c - the files of a tmpfs, in place of tar
 *
 * CRIU saves each tmpfs of a container with `tar --create --gzip --directory D .` and fills it with
 * `tar --extract --gzip --directory D`. A container of Docker's has five of them, all but empty,
 * and starting tar and gzip takes longer than the rest of the dump, while the container stands
 * still; with much in them it takes seconds. So they are written down here (tmpfs_save.c), and only
 * what is beyond its limits is left to the real tar. The process that CRIU forked for tar does it,
 * without becoming another program (criu_quick.c); where that library is not, it becomes
 * reberth-tar.
 */
#include "tmpfs.h"

#include <stdbool.h>
#include <string.h>

#include "tmpfs_format.h"

int tmpfs_tar(char *const argv[])
{
	bool creating = false, extracting = false;
	const char *dir = NULL;

	for (int i = 1; argv[0] && argv[i]; i++) {
		creating |= strcmp(argv[i], "--create") == 0;
		extracting |= strcmp(argv[i], "--extract") == 0;
		if (strcmp(argv[i], "--directory") == 0 && argv[i + 1])
			dir = argv[i + 1];
	}
	if (!dir || creating == extracting)
		return TMPFS_NOT_OURS;
	return creating ? tmpfs_save(dir) : tmpfs_fill(dir);
}
