// SPDX-License-Identifier: Apache-2.0
/*
 * ext4_util.c - an ext4 of one's own, in a file, mounted where only this process sees it
 */
#include "ext4_util.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tree_util.h"

#define IMAGE_BYTES ((off_t)512 << 20)
#define MAX_MOUNTS  4

static char mounts[MAX_MOUNTS][PATH_MAX];
static int n_mounts;
static pid_t owner;

/* before the folders of tree_util.c are removed */
static void unmount_all(void)
{
	if (getpid() != owner)
		return;
	for (int i = 0; i < n_mounts; i++)
		umount2(mounts[i], MNT_DETACH);
}

const char *ext4_mount(const char *options, char *ret)
{
	char folder[PATH_MAX], image[PATH_MAX + 8], command[4 * PATH_MAX];
	int fd;

	if (n_mounts == MAX_MOUNTS)
		abort();
	tree_folder(folder, "ext4");
	if (n_mounts == 0) {
		owner = getpid();
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
			return "no mount namespace of one's own";
		atexit(unmount_all);
	}
	snprintf(image, sizeof(image), "%s/image", folder);
	strcpy(ret, at(folder, "mnt"));
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0 || mkdir(ret, 0700) < 0)
		abort();
	close(fd);
	snprintf(command, sizeof(command),
		 "mkfs.ext4 -q -F %s >/dev/null 2>&1 && mount -t ext4 -o loop,%s %s %s", image,
		 *options ? options : "rw", image, ret);
	if (system(command) != 0)
		return "no ext4 could be made and mounted";
	snprintf(mounts[n_mounts++], PATH_MAX, "%s", ret);
	return NULL;
}
