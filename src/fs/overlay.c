// SPDX-License-Identifier: Apache-2.0
/*
 * overlay.c - a container's writable layer as overlayfs keeps it
 *
 * Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems": "Changes to the
 * underlying filesystems while part of a mounted overlay filesystem are not allowed. [...]
 * Offline changes, when the overlay is not mounted, are allowed to the upper tree." Hence the
 * overlay is taken away while its upper folder is filled. With the last mount of a superblock its
 * dentries go, and with them what had been looked up (names that did not exist, too).
 *
 * All options are taken from /proc/self/mountinfo:
 *
 *   1001 27 0:53 / /var/lib/docker/overlay2/ID/merged rw,relatime shared:7 - overlay overlay \
 *	rw,lowerdir=l/A:l/B,upperdir=ID/diff,workdir=ID/work,index=off
 *
 * mount(2) takes one page of options. Whoever mounted it has made it fit by changing to a folder
 * and naming the layers relative to it (Docker: its overlay2 folder), and so do we, in a thread
 * that has a working folder of its own.
 */
#include "overlay.h"

#include <errno.h>
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

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "mounts.h"
#include "thread.h"

static const struct {
	const char *name;
	unsigned long flag;
} mount_flags[] = {
	{ "ro", MS_RDONLY },	     { "nosuid", MS_NOSUID },
	{ "nodev", MS_NODEV },	     { "noexec", MS_NOEXEC },
	{ "noatime", MS_NOATIME },   { "nodiratime", MS_NODIRATIME },
	{ "relatime", MS_RELATIME }, { "nosymfollow", MS_NOSYMFOLLOW },
};

void rb_overlay_free(struct rb_overlay *overlay)
{
	if (!overlay)
		return;
	free(overlay->options);
	overlay->options = NULL;
}

static unsigned long parse_flags(const char *options)
{
	unsigned long flags = 0;

	while (*options) {
		size_t n = strcspn(options, ",");

		for (size_t i = 0; i < ARRAY_SIZE(mount_flags); i++)
			if (strlen(mount_flags[i].name) == n &&
			    memcmp(options, mount_flags[i].name, n) == 0)
				flags |= mount_flags[i].flag;
		options += n + (options[n] == ',');
	}
	return flags;
}

/* Shown by the kernel for every file system, but not taken by overlayfs. */
static bool is_display_only(const char *option)
{
	return strcmp(option, "rw") == 0 || strcmp(option, "ro") == 0 ||
	       strcmp(option, "seclabel") == 0;
}

static int copy_path(char ret[4096], const char *path)
{
	return rb_path(ret, 4096, "%s", path);
}

/* overlayfs itself takes "\," and "\:" in paths; what remains is the folder's name */
static void drop_backslashes(char *path)
{
	char *to = path;

	for (const char *from = path; *from; from++) {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*to = '\0';
}

/*
 * Take the options of mountinfo apart, put those for mount(2) together, and pick the folders out.
 * Commas and the like inside of a value are shown as \ooo, so the first level of splitting is safe.
 */
static int parse_options(char *shown, struct rb_overlay *out, struct rb_buf *options,
			 char lower[4096])
{
	static const char upper_key[] = "upperdir=", work_key[] = "workdir=",
			  lower_key[] = "lowerdir=", lower_more[] = "lowerdir+=";
	char *next = NULL;
	int r = 0;

	for (char *option = strtok_r(shown, ",", &next); option && r >= 0;
	     option = strtok_r(NULL, ",", &next)) {
		mounts_unescape(option);
		if (is_display_only(option))
			continue;
		r = rb_buf_addf(options, "%s%s", options->len ? "," : "", option);
		if (r < 0)
			return r;
		if (strncmp(option, upper_key, strlen(upper_key)) == 0)
			r = copy_path(out->upper, option + strlen(upper_key));
		else if (strncmp(option, work_key, strlen(work_key)) == 0)
			r = copy_path(out->work, option + strlen(work_key));
		else if (strncmp(option, lower_key, strlen(lower_key)) == 0)
			snprintf(lower, 4096, "%.*s", (int)strcspn(option + strlen(lower_key), ":"),
				 option + strlen(lower_key));
		else if (strncmp(option, lower_more, strlen(lower_more)) == 0)
			return -EOPNOTSUPP;
	}
	drop_backslashes(out->upper);
	drop_backslashes(out->work);
	return r;
}

static bool parent_of(const char *path, int levels, char ret[4096])
{
	if (copy_path(ret, path) < 0)
		return false;
	while (levels-- > 0) {
		char *slash = strrchr(ret, '/');

		if (!slash || slash == ret)
			return false;
		*slash = '\0';
	}
	return true;
}

static bool is_folder_in(const char *base, const char *name)
{
	char path[8192];
	struct stat st;

	return rb_path(path, sizeof(path), "%s/%s", base, name) == 0 && stat(path, &st) == 0 &&
	       S_ISDIR(st.st_mode);
}

/* Docker: overlay2/ID/merged; containerd: snapshots/N/fs, with an absolute upper folder. */
static int find_base(struct rb_overlay *out, const char *lower)
{
	const char *const around[] = { out->merged, out->upper };

	if (*lower == '/' && *out->upper == '/' && *out->work == '/')
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(around); i++)
		if (*around[i] == '/' && parent_of(around[i], 2, out->base) &&
		    (*lower == '/' || is_folder_in(out->base, lower)) &&
		    (*out->upper == '/' || is_folder_in(out->base, out->upper)))
			return 0;
	return -ENOENT;
}

static int make_absolute(const char *base, char path[4096])
{
	char relative[4096];

	if (*path == '/')
		return 0;
	strcpy(relative, path);
	return rb_path(path, 4096, "%s/%s", base, relative);
}

static int fill_overlay(struct mount_line *line, struct rb_overlay *out, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf options = {};
	char lower[4096] = "";
	int r;

	if (strcmp(line->type, "overlay") != 0)
		return rb_err_code(err, RB_E_REFUSED, -EINVAL,
				   "'%s' is a mount of type %s; only containers on overlayfs "
				   "(storage driver overlay2) can be moved",
				   out->merged, line->type);
	r = parse_options(line->super_options, out, &options, lower);
	if (r == -EOPNOTSUPP)
		return rb_err_code(err, RB_E_REFUSED, r,
				   "the overlay at '%s' was mounted in a way that mount(2) cannot "
				   "repeat (lowerdir+)",
				   out->merged);
	if (r == 0 && !*out->upper)
		return rb_err_code(err, RB_E_REFUSED, -EINVAL,
				   "the overlay at '%s' is read-only, it has no upper folder",
				   out->merged);
	if (r == 0) {
		r = find_base(out, lower);
		if (r < 0)
			return rb_err_set(err, r,
					  "find the folder that '%s', a layer of '%s', is in",
					  lower, out->merged);
	}
	if (r == 0)
		r = make_absolute(out->base, out->upper);
	if (r == 0)
		r = make_absolute(out->base, out->work);
	if (r < 0)
		return rb_err_set(err, r, "read the options of the overlay at '%s'", out->merged);
	out->flags = parse_flags(line->options);
	out->options = TAKE_PTR(options.data);
	return 0;
}

int rb_overlay_find(const char *merged, struct rb_overlay *ret, struct rb_err *err)
{
	_cleanup_(mount_line_release) struct mount_line line = {};
	_cleanup_free_ struct rb_overlay *out = calloc(1, sizeof(*out));
	int r;

	if (!out)
		return rb_err_set(err, -ENOMEM, "find the overlay at '%s'", merged);
	if (!realpath(merged, out->merged))
		return rb_err_set(err, -errno, "find the overlay at '%s'", merged);
	r = mounts_find("/proc/self/mountinfo", out->merged, &line);
	if (r == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "nothing is mounted at '%s'; is the container running?", merged);
	if (r < 0)
		return rb_err_set(err, r, "read /proc/self/mountinfo");
	r = fill_overlay(&line, out, err);
	if (r < 0)
		return r;
	*ret = *out;
	return 0;
}

/* Refuse after all, with the mount that was kept. It must be the old one: somebody uses it. */
static int put_back(const struct rb_overlay *overlay, int kept, pid_t holder, struct rb_err *err)
{
	if (move_mount(kept, "", AT_FDCWD, overlay->merged, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return rb_err_set(err, -errno, "mount '%s' again, which others still use",
				  overlay->merged);
	return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
			   "'%s' cannot be taken away: process %d has it mounted, too",
			   overlay->merged, (int)holder);
}

int rb_overlay_detach(const struct rb_overlay *overlay, struct rb_err *err)
{
	_cleanup_(mount_line_release) struct mount_line line = {};
	_cleanup_close_ int kept = -EBADF;
	pid_t holder = 0;
	int r;

	r = mounts_find("/proc/self/mountinfo", overlay->merged, &line);
	if (r <= 0)
		return rb_err_set(err, r < 0 ? r : -ENOENT, "find the overlay at '%s'",
				  overlay->merged);
	/* who else has it mounted shows only after umount(2), which may take theirs along */
	kept = open_tree(AT_FDCWD, overlay->merged, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (kept < 0)
		return rb_err_set(err, -errno, "hold on to the overlay at '%s'", overlay->merged);
	if (umount2(overlay->merged, UMOUNT_NOFOLLOW) < 0)
		return rb_err_set(err, -errno, "umount '%s' (is a program using it?)",
				  overlay->merged);
	r = mounts_find_anywhere(&line, &holder);
	if (r > 0)
		return put_back(overlay, kept, holder, err);
	if (r < 0) {
		put_back(overlay, kept, holder, NULL);
		return rb_err_set(err, r, "look who else uses '%s'", overlay->merged);
	}
	return 0;
}

/* Only this thread goes there. */
static int mount_there(void *arg, struct rb_err *err)
{
	const struct rb_overlay *overlay = arg;

	if (unshare(CLONE_FS) < 0 || (*overlay->base && chdir(overlay->base) < 0) ||
	    mount("overlay", overlay->merged, "overlay", overlay->flags, overlay->options) < 0)
		return rb_err_set(err, -errno, "mount the overlay '%s' with '%s'", overlay->merged,
				  overlay->options);
	return 0;
}

int rb_overlay_attach(const struct rb_overlay *overlay, struct rb_err *err)
{
	if (strlen(overlay->options) >= (size_t)sysconf(_SC_PAGESIZE))
		return rb_err_code(
			err, RB_E_REFUSED, -E2BIG,
			"the options of the overlay at '%s' are longer than mount(2) takes",
			overlay->merged);
	return rb_thread_run(mount_there, (void *)overlay, err);
}
