// SPDX-License-Identifier: Apache-2.0
/* manifest_diff.c - what of a tree has to be sent, and what has vanished */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "manifest.h"

static bool is_whiteout(const struct manifest_entry *e)
{
	return S_ISCHR(e->mode) && e->rdev == 0;
}

static bool is_same(const struct manifest_entry *base, const struct manifest_entry *now)
{
	if (base->again)
		return false;
	/* overlayfs makes whiteouts as names of one inode, whose ctime moves with each of them */
	if (is_whiteout(base) && is_whiteout(now))
		return base->mode == now->mode && base->mtime_s == now->mtime_s &&
		       base->mtime_ns == now->mtime_ns;
	return base->ino == now->ino && base->mode == now->mode && base->size == now->size &&
	       base->rdev == now->rdev && base->ctime_s == now->ctime_s &&
	       base->ctime_ns == now->ctime_ns && base->mtime_s == now->mtime_s &&
	       base->mtime_ns == now->mtime_ns;
}

static int compare_inodes(const void *a, const void *b)
{
	const struct manifest_entry *x = *(struct manifest_entry *const *)a;
	const struct manifest_entry *y = *(struct manifest_entry *const *)b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->path < y->path ? -1 : x->path > y->path;
}

/* Number the inodes with several names, and mark all names of an inode when one is marked. */
static int group_links(struct rb_manifest *now)
{
	_cleanup_free_ struct manifest_entry **links = NULL;
	size_t n = 0;

	links = reallocarray(NULL, now->n + 1, sizeof(*links));
	if (!links)
		return -ENOMEM;
	for (size_t i = 0; i < now->n; i++) {
		struct manifest_entry *e = &now->entries[i];

		if (e->nlink > 1 && !S_ISDIR(e->mode) && !is_whiteout(e))
			links[n++] = e;
	}
	qsort(links, n, sizeof(*links), compare_inodes);
	for (size_t first = 0, end; first < n; first = end) {
		bool send = false;

		for (end = first; end < n && links[end]->dev == links[first]->dev &&
				  links[end]->ino == links[first]->ino;
		     end++)
			send |= links[end]->send;
		now->groups++;
		for (size_t i = first; i < end; i++) {
			links[i]->group = now->groups;
			links[i]->send = send;
		}
	}
	return 0;
}

static struct manifest_entry *folder_of(const struct rb_manifest *m, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct manifest_entry *e;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 0, path);
	e = manifest_find(m, folder);
	return e && S_ISDIR(e->mode) ? e : NULL;
}

/* Have @path removed by the receiver, unless that happens with its folder. */
static int add_gone(struct rb_manifest *now, const char *path, struct rb_buf *gone, uint64_t *n)
{
	struct manifest_entry *folder = folder_of(now, path);

	if (!folder)
		return 0;
	folder->send = true;
	(*n)++;
	return rb_buf_add(gone, path, strlen(path) + 1);
}

/* Walk both sorted lists at once. */
static int compare_with(struct rb_manifest *now, const struct rb_manifest *base,
			struct rb_buf *gone, uint64_t *ret_n_gone)
{
	size_t i = 0;
	int r = 0;

	for (size_t b = 0; r == 0 && b < base->n; b++) {
		const struct manifest_entry *old = &base->entries[b];
		const char *path = manifest_path(base, old);
		int c = 1;

		while (i < now->n && (c = strcmp(manifest_path(now, &now->entries[i]), path)) < 0)
			i++;
		if (i < now->n && c == 0) {
			now->entries[i].send = !is_same(old, &now->entries[i]);
			if (old->unknown && S_ISDIR(now->entries[i].mode))
				r = add_gone(now, path, gone, ret_n_gone);
			i++;
		} else {
			r = add_gone(now, path, gone, ret_n_gone);
		}
	}
	return r;
}

static bool is_below_unknown(const struct rb_manifest *base, const char *of)
{
	char path[PATH_MAX];
	char *slash;

	strcpy(path, of);
	while (base->n_unknown && (slash = strrchr(path, '/'))) {
		const struct manifest_entry *folder;

		*slash = '\0';
		folder = manifest_find(base, path);
		if (folder && folder->unknown)
			return true;
	}
	return false;
}

/* Mark what is below a path that was unknown: the receiver has removed it. */
static void mark_below_unknown(struct rb_manifest *now, const struct rb_manifest *base)
{
	for (size_t i = 0; base->n_unknown && i < now->n; i++)
		if (!now->entries[i].send)
			now->entries[i].send =
				is_below_unknown(base, manifest_path(now, &now->entries[i]));
}

int manifest_diff(struct rb_manifest *now, const struct rb_manifest *base, struct rb_buf *ret_gone,
		  uint64_t *ret_n_gone)
{
	int r = 0;

	for (size_t i = 0; i < now->n; i++)
		now->entries[i].send = true;
	*ret_n_gone = 0;
	if (base) {
		r = compare_with(now, base, ret_gone, ret_n_gone);
		mark_below_unknown(now, base);
	}
	if (r == 0)
		r = group_links(now);
	if (r < 0)
		return r;
	for (size_t i = 0; base && i < now->n; i++) {
		const struct manifest_entry *e = &now->entries[i];
		struct manifest_entry *folder = NULL;

		if (e->send && !S_ISDIR(e->mode))
			folder = folder_of(now, manifest_path(now, e));
		if (folder)
			folder->send = true;
	}
	return 0;
}

void manifest_mark_held(struct rb_manifest *now, const struct rb_manifest *base)
{
	for (size_t i = 0; base && i < now->n; i++) {
		struct manifest_entry *e = &now->entries[i];
		const char *path = manifest_path(now, e);
		const struct manifest_entry *old = manifest_find(base, path);

		e->held = old && !old->unknown && old->dev == e->dev && old->ino == e->ino &&
			  (old->mode & S_IFMT) == (e->mode & S_IFMT) &&
			  !is_below_unknown(base, path);
	}
}
