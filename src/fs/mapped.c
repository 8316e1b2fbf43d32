// SPDX-License-Identifier: Apache-2.0
/*
 * mapped.c - which files of a tree can change without their times moving
 *
 * A store to a clean page of a shared mapping faults, and the fault moves mtime; further stores to
 * that page do not, until it was written back. So a manifest cannot be trusted for files that
 * somebody has mapped shared and may write to.
 *
 * /proc/PID/maps tells them by device and inode. For files of an overlay those are the
 * overlay's on some kernels and the upper file's on others, and with btrfs the device is not that
 * of stat(2). Hence the path counts too: seen from inside the container it is
 * "/<mount point>/<path in the tree>", so every tail of it is looked up in the manifest. A file
 * marked by mistake is only sent once more.
 *
 * "w" in the permissions is not enough: mprotect(2) takes it away and leaves dirty pages. The
 * owner's write bit of /proc/PID/map_files/RANGE says whether the file was opened for writing.
 */
#include "tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "manifest.h"

struct mapping {
	uint64_t dev, ino;
	char *path; /* into the line; without escapes, "" when there is none */
};

/* The kernel writes newlines as \012 and marks removed files. */
static void clean_path(char *path)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(path);
	char *to = path;

	if (len && path[len - 1] == '\n')
		path[--len] = '\0';
	if (len >= sizeof(deleted) - 1 && strcmp(path + len - (sizeof(deleted) - 1), deleted) == 0)
		path[len - (sizeof(deleted) - 1)] = '\0';
	for (const char *from = path; *from;) {
		bool newline = strncmp(from, "\\012", 4) == 0;

		*to++ = newline ? '\n' : *from;
		from += newline ? 4 : 1;
	}
	*to = '\0';
}

static bool opened_for_writing(pid_t pid, const char *range, size_t len)
{
	char path[128];
	struct stat st;

	if (rb_path(path, sizeof(path), "/proc/%d/map_files/%.*s", (int)pid, (int)len, range) < 0)
		return true;
	return lstat(path, &st) < 0 || (st.st_mode & S_IWUSR);
}

/* "start-end perms offset major:minor inode   path" */
static bool parse_line(pid_t pid, char *line, struct mapping *ret)
{
	unsigned int dev_major, dev_minor;
	char perms[5];
	int at = 0;

	if (sscanf(line, "%*[^ ] %4s %*s %x:%x %" SCNu64 " %n", perms, &dev_major, &dev_minor,
		   &ret->ino, &at) != 4 ||
	    perms[3] != 's' || ret->ino == 0)
		return false;
	if (perms[1] != 'w' && !opened_for_writing(pid, line, strcspn(line, " ")))
		return false;
	ret->dev = makedev(dev_major, dev_minor);
	ret->path = line + at;
	clean_path(ret->path);
	return true;
}

static int mark(struct manifest_entry *e)
{
	int fresh = !e->again && S_ISREG(e->mode);

	e->again = true;
	return fresh;
}

static int mark_path(struct rb_manifest *m, const char *path)
{
	int marked = 0;

	while ((path = strchr(path, '/'))) {
		struct manifest_entry *e = manifest_find(m, ++path);

		if (e && *path && S_ISREG(e->mode))
			marked += mark(e);
	}
	return marked;
}

/* Entries of one device, by inode. */
struct by_inode {
	struct manifest_entry **entries;
	size_t n;
};

static int compare_inodes(const void *a, const void *b)
{
	const struct manifest_entry *x = *(struct manifest_entry *const *)a;
	const struct manifest_entry *y = *(struct manifest_entry *const *)b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int mark_inode(const struct by_inode *index, uint64_t dev, uint64_t ino)
{
	size_t low = 0, high = index->n;
	int marked = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (index->entries[middle]->ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < index->n && index->entries[low]->ino == ino; low++)
		if (index->entries[low]->dev == dev)
			marked += mark(index->entries[low]);
	return marked;
}

static int forget_of(struct rb_manifest *m, const struct by_inode *index, pid_t pid,
		     struct rb_err *err)
{
	_cleanup_fclose_ FILE *maps = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char path[64];
	int marked = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT || errno == ESRCH
			       ? 0
			       : rb_err_set(err, -errno, "open '%s'", path);
	while (getline(&line, &size, maps) > 0) {
		struct mapping mapping;

		if (!parse_line(pid, line, &mapping))
			continue;
		marked += mark_inode(index, mapping.dev, mapping.ino);
		marked += mark_path(m, mapping.path);
	}
	if (ferror(maps) && errno != ESRCH)
		return rb_err_set(err, -errno, "read '%s'", path);
	return marked;
}

int rb_manifest_forget_mapped(struct rb_manifest *manifest, const char *root, const pid_t *pids,
			      size_t n, struct rb_err *err)
{
	struct by_inode index = {};
	_cleanup_free_ struct manifest_entry **entries = NULL;
	int marked = 0;

	entries = reallocarray(NULL, manifest->n + 1, sizeof(struct manifest_entry *));
	if (!entries)
		return rb_err_set(err, -ENOMEM, "look for mapped files in '%s'", root);
	for (size_t i = 0; i < manifest->n; i++)
		if (S_ISREG(manifest->entries[i].mode))
			entries[index.n++] = &manifest->entries[i];
	index.entries = entries;
	qsort(entries, index.n, sizeof(*entries), compare_inodes);
	for (size_t i = 0; i < n; i++) {
		int r = forget_of(manifest, &index, pids[i], err);

		if (r < 0)
			return r;
		marked += r;
	}
	return marked;
}
