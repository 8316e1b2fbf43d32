// SPDX-License-Identifier: Apache-2.0
/*
 * watch_probe.c - is what is written through an overlay seen on the file system of its upper
 * folder?
 *
 * Tried with two file systems that are mounted nowhere: an overlay over a tmpfs. Nothing of it is
 * left behind, and nobody else sees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beneath.h"
#include "cleanup.h"
#include "io.h"
#include "watch.h"

static int mount_nowhere(int fs_fd)
{
	if (fs_fd < 0 || fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -EBADF;
	return fsmount(fs_fd, FSMOUNT_CLOEXEC, 0);
}

static int overlay_over(int tmpfs_fd)
{
	_cleanup_close_ int fs_fd = fsopen("overlay", FSOPEN_CLOEXEC);
	static const struct {
		const char *key, *folder;
	} parts[] = { { "lowerdir", "l" }, { "upperdir", "u" }, { "workdir", "w" } };
	char buf[FD_PATH_SIZE], path[FD_PATH_SIZE + 2];

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (mkdirat(tmpfs_fd, parts[i].folder, 0700) < 0)
			return -errno;
		snprintf(path, sizeof(path), "%s/%s", fd_path(tmpfs_fd, buf), parts[i].folder);
		if (fs_fd < 0 || fsconfig(fs_fd, FSCONFIG_SET_STRING, parts[i].key, path, 0) < 0)
			return -EBADF;
	}
	return mount_nowhere(fs_fd);
}

/* Among what is read there is a file that was written to. The kernel aligns events to 4 bytes only.
 */
static bool was_seen(int group_fd)
{
	struct fanotify_event_metadata event;
	char buf[4096];
	ssize_t n = read(group_fd, buf, sizeof(buf));

	for (const char *at = buf; n > 0; at += event.event_len) {
		memcpy(&event, at, sizeof(event));
		n -= event.event_len;
		if (event.mask & FAN_MODIFY)
			return true;
	}
	return false;
}

bool watch_sees_overlay(void)
{
	_cleanup_close_ int tmpfs = fsopen("tmpfs", FSOPEN_CLOEXEC), base = mount_nowhere(tmpfs),
			    overlay = base < 0 ? -EBADF : overlay_over(base), file = -EBADF,
			    group = -EBADF;

	if (overlay < 0)
		return false;
	group = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME |
				      FAN_REPORT_FID,
			      O_RDONLY);
	if (group < 0 ||
	    fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_MODIFY, base, ".") < 0)
		return false;
	file = openat(overlay, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return file >= 0 && rb_write_all(file, "x", 1) == 0 && was_seen(group);
}
