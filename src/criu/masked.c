// SPDX-License-Identifier: Apache-2.0
/*
 * masked.c - directories that runc hides from a container
 */
#include "masked.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "workdir.h"

static int open_in(const char *root, const char *where)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS };
	_cleanup_close_ int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root_fd < 0 ? -1 : (int)syscall(SYS_openat2, root_fd, where, &how, sizeof(how));
}

static bool is_empty(int *fd)
{
	DIR *dir = fdopendir(*fd);
	const struct dirent *entry;

	if (!dir)
		return false;
	*fd = -EBADF;
	do
		entry = readdir(dir);
	while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	closedir(dir);
	return !entry;
}

static bool is_masked(const char *root, const char *where)
{
	_cleanup_close_ int fd = open_in(root, where);
	struct statx st;
	struct statfs fs;

	return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	       (fs.f_flags & ST_RDONLY) && statx(fd, "", AT_EMPTY_PATH, 0, &st) == 0 &&
	       (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) && is_empty(&fd);
}

/*
 * A volume that somebody wanted there is below the mask. CRIU knows mounts by their path alone, and
 * would take the volume, which runc declares, for both: seen is what was seen when it takes the
 * mask for both. Of two lines about one path it believes the later, and the configuration file
 * comes after runc.
 */
int rb_masked_dumped(const json_t *state, int init_pid, struct rb_buf *lines, struct rb_err *err)
{
	const json_t *paths = json_object_get(json_object_get(state, "config"), "mask_paths");
	char root[64];
	json_t *one;
	size_t i;

	snprintf(root, sizeof(root), "/proc/%d/root", init_pid);
	json_array_foreach (paths, i, one) {
		const char *where = json_string_value(one);

		if (where && rb_criu_path_valid(where) && is_masked(root, where) &&
		    rb_buf_addf(lines, "external mnt[%s]:" RB_MASKED "\n", where) < 0)
			return rb_err_set(err, -ENOMEM, "list the masked directories");
	}
	return 0;
}

int rb_masked_restored(const char *work_dir, struct rb_buf *lines, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/" RB_MASKED, work_dir);

	if (r >= 0)
		r = rb_mkdir_p(path, 0755, err);
	if (r >= 0)
		r = rb_buf_addf(lines, "external mnt[" RB_MASKED "]:%s\n", path);
	return r < 0 ? rb_err_set(err, r, "mask directories in '%s'", work_dir) : 0;
}
