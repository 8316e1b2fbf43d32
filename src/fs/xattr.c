// SPDX-License-Identifier: Apache-2.0
/*
 * xattr.c - extended attributes between a file and an archive entry
 *
 * POSIX ACLs (system.posix_acl_*) and file capabilities (security.capability) are attributes and
 * travel as such. These stay behind:
 *
 *   trusted.overlay.origin, .uuid, .upper, .nlink (and their user. and nested forms)
 *	File handles of lower inodes, UUIDs and index bookkeeping of *this* host's file systems.
 *	Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems": "On every
 *	copy_up, an NFS file handle of the lower inode, along with the UUID of the lower
 *	filesystem, are encoded and stored in an extended attribute trusted.overlay.origin". On a
 *	host whose disk was cloned from the same image the UUID matches and the handle could be
 *	decoded to an unrelated file. Without it a copied-up file merely shows the inode number of
 *	its upper file ("Sharing and copying layers" has the rest).
 *	.opaque, .redirect, .impure, .whiteout, .protattr hold no handles and travel. So does
 *	.metacopy, which Docker's own layers never have (it mounts with metacopy=off when the
 *	kernel defaults to on), but an engine inside of the container may use on a volume, where
 *	the lower file travels along.
 *   security.selinux, security.evm
 *	Labels are given by the policy of the host, EVM signs inode numbers with the host's key.
 *   everything outside of user., trusted., security. and system.posix_acl_
 *	Properties of one kind of file system (btrfs.*, system.nfs4_acl).
 */
#include "xattr.h"

#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "beneath.h"
#include "cleanup.h"
#include "err.h"

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_overlay_handle(const char *name)
{
	static const char *const handles[] = { "origin", "uuid", "upper", "nlink" };

	if (starts_with(name, "trusted."))
		name += strlen("trusted.");
	else if (starts_with(name, "user."))
		name += strlen("user.");
	else
		return false;
	if (!starts_with(name, "overlay."))
		return false;
	/* nested overlays escape theirs by repeating the prefix */
	while (starts_with(name, "overlay."))
		name += strlen("overlay.");
	for (size_t i = 0; i < ARRAY_SIZE(handles); i++)
		if (strcmp(name, handles[i]) == 0)
			return true;
	return false;
}

bool xattr_travels(const char *name)
{
	if (is_overlay_handle(name) || strcmp(name, "security.selinux") == 0 ||
	    strcmp(name, "security.evm") == 0)
		return false;
	return starts_with(name, "user.") || starts_with(name, "trusted.") ||
	       starts_with(name, "security.") || starts_with(name, "system.posix_acl_");
}

/*
 * Names of the attributes of @proc_path into *@ret (malloc'd, NULL when there are none).
 * Return: bytes, or negative errno.
 */
static ssize_t list_names(const char *proc_path, char **ret)
{
	for (;;) {
		_cleanup_free_ char *names = NULL;
		ssize_t len = listxattr(proc_path, NULL, 0);

		if (len < 0)
			return errno == ENOTSUP || errno == EPERM ? 0 : -errno;
		if (len == 0)
			return 0;
		names = malloc((size_t)len);
		if (!names)
			return -ENOMEM;
		len = listxattr(proc_path, names, (size_t)len);
		if (len < 0 && errno == ERANGE)
			continue; /* one was added meanwhile */
		if (len < 0)
			return -errno;
		*ret = TAKE_PTR(names);
		return len;
	}
}

static int load_one(const char *proc_path, const char *name, char **value,
		    struct archive_entry *entry)
{
	ssize_t len;

	if (!*value)
		*value = malloc(XATTR_SIZE_MAX);
	if (!*value)
		return -ENOMEM;
	len = getxattr(proc_path, name, *value, XATTR_SIZE_MAX);
	if (len < 0)
		return errno == ENODATA ? 0 : -errno; /* removed meanwhile */
	archive_entry_xattr_add_entry(entry, name, *value, (size_t)len);
	return 0;
}

int xattr_load(int fd, const char *path, struct archive_entry *entry, struct rb_err *err)
{
	_cleanup_free_ char *names = NULL, *value = NULL;
	char buf[FD_PATH_SIZE];
	const char *proc_path = fd_path(fd, buf);
	ssize_t len = list_names(proc_path, &names);

	if (len < 0)
		return rb_err_set(err, (int)len, "list the attributes of '%s'", path);
	if (len == 0)
		return 0;
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		int r = xattr_travels(name) ? load_one(proc_path, name, &value, entry) : 0;

		if (r < 0)
			return rb_err_set(err, r, "read attribute %s of '%s'", name, path);
	}
	return 0;
}

static bool entry_has(struct archive_entry *entry, const char *wanted)
{
	const char *name;
	const void *value;
	size_t size;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == 0)
		if (strcmp(name, wanted) == 0)
			return true;
	return false;
}

/* A new file has attributes of its own when its folder has a default ACL. */
static int remove_others(const char *proc_path, const char *path, struct archive_entry *entry,
			 struct rb_err *err)
{
	_cleanup_free_ char *names = NULL;
	ssize_t len = list_names(proc_path, &names);

	if (len < 0)
		return rb_err_set(err, (int)len, "list the attributes of '%s'", path);
	if (len == 0)
		return 0;
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		if (!xattr_travels(name) || entry_has(entry, name))
			continue;
		if (removexattr(proc_path, name) < 0 && errno != ENODATA)
			return rb_err_set(err, -errno, "remove attribute %s of '%s'", name, path);
	}
	return 0;
}

int xattr_store(int fd, const char *path, struct archive_entry *entry, struct rb_err *err)
{
	char buf[FD_PATH_SIZE];
	const char *proc_path = fd_path(fd, buf), *name;
	const void *value;
	size_t size;
	int r = remove_others(proc_path, path, entry, err);

	if (r < 0)
		return r;
	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == 0) {
		if (!name || !xattr_travels(name))
			continue;
		if (setxattr(proc_path, name, value ? value : "", size, 0) < 0)
			return rb_err_set(err, -errno,
					  "set attribute %s of '%s' (does the file system of the "
					  "target support it?)",
					  name, path);
	}
	return 0;
}
