// SPDX-License-Identifier: Apache-2.0
/*
 * target_binds_open.c - to open what is there for a bind mount, and nothing else that may have its
 * path by now
 *
 * No link is followed, and what was made must still be the inode that it was (target_binds_made.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "migration.h"
#include "storage.h"
#include "target_binds.h"

int binds_open_real(const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned int)flags | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

int binds_open_parent(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	*ret_name = slash + 1;
	return binds_open_real(parent, O_PATH | O_DIRECTORY);
}

int binds_look_at_inode(int fd, struct binds_inode *ret)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &stx) < 0)
		return -errno;
	*ret = (struct binds_inode){ .dev = (int64_t)makedev(stx.stx_dev_major, stx.stx_dev_minor),
				     .ino = (int64_t)stx.stx_ino };
	if (stx.stx_mask & STATX_BTIME)
		ret->born = stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
	return 0;
}

int binds_note_inode(json_t *made, const char *path, struct rb_err *err)
{
	_cleanup_close_ int fd = binds_open_real(path, O_PATH);
	struct binds_inode inode;
	int r = fd < 0 ? fd : binds_look_at_inode(fd, &inode);

	if (r < 0)
		return rb_err_set(err, r, "open '%s'", path);
	json_object_set_new(made, "dev", json_integer(inode.dev));
	json_object_set_new(made, "ino", json_integer(inode.ino));
	json_object_set_new(made, "born", json_integer(inode.born));
	return 0;
}

const json_t *binds_find_made(const struct rb_member *c, const char *source)
{
	const json_t *made;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "binds_made"), i, made)
		if (strcmp(rb_json_str(made, "source", ""), source) == 0)
			return made;
	return NULL;
}

bool binds_is_inode(const json_t *made, const struct binds_inode *inode, bool now)
{
	bool device = rb_json_int(made, "dev", 0) == inode->dev;
	int64_t born = rb_json_int(made, "born", 0);

	return rb_json_int(made, "ino", 0) && rb_json_int(made, "ino", 0) == inode->ino &&
	       born == inode->born && (device || (born && !now));
}

int binds_open_made(const json_t *made, int flags, bool now, struct rb_err *err)
{
	const char *path = rb_json_str(made, "path", "");
	_cleanup_close_ int fd = binds_open_real(path, flags);
	struct binds_inode inode;
	int r = fd < 0 ? fd : binds_look_at_inode(fd, &inode);

	if (r < 0)
		return rb_err_set(err, r, "open '%s'", path);
	if (!binds_is_inode(made, &inode, now))
		return rb_err_code(err, RB_E_CONFLICT, -ESTALE,
				   "somebody else has replaced '%s', which was made for the "
				   "container",
				   path);
	return TAKE_FD(fd);
}

int rb_binds_open(const struct rb_member *c, const char *source, int flags, struct rb_err *err)
{
	const json_t *made = binds_find_made(c, source);

	return made ? binds_open_made(made, flags, true, err)
		    : rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no bind mount '%.200s'",
				  source);
}
