// SPDX-License-Identifier: Apache-2.0
/* manifest_merge.c - what the receiver has after a round */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest.h"

int manifest_copy(struct rb_manifest *to, const struct rb_manifest *from,
		  const struct manifest_entry *e)
{
	const char *path = manifest_path(from, e);
	struct manifest_entry *entries;

	if (to->n == to->size) {
		size_t size = to->size ? to->size * 2 : 256;

		entries = reallocarray(to->entries, size, sizeof(*entries));
		if (!entries)
			return -ENOMEM;
		to->entries = entries;
		to->size = size;
	}
	to->entries[to->n] = *e;
	to->entries[to->n].path = to->paths.len;
	to->entries[to->n].group = 0;
	to->entries[to->n].send = false;
	if (rb_buf_add(&to->paths, path, strlen(path) + 1) < 0)
		return -ENOMEM;
	to->n++;
	to->n_unknown += e->unknown;
	return 0;
}

/* One list that is walked through from its start to its end. */
struct walk {
	const struct rb_manifest *m; /* may be NULL */
	size_t at;
};

/* The entry of this path, if the next one is; the path is passed. */
static const struct manifest_entry *pass(struct walk *w, const char *path)
{
	const struct manifest_entry *e;

	if (!w->m || w->at == w->m->n)
		return NULL;
	e = &w->m->entries[w->at];
	if (strcmp(manifest_path(w->m, e), path) != 0)
		return NULL;
	w->at++;
	return e;
}

static const char *next_path(const struct walk *w)
{
	return w->m && w->at < w->m->n ? manifest_path(w->m, &w->m->entries[w->at]) : NULL;
}

/* It may be that it came, or went. A folder that was one before keeps what is in it. */
static void doubt(struct manifest_entry *e, const char *path, const struct manifest_entry *before)
{
	bool stayed = before && S_ISDIR(before->mode) && S_ISDIR(e->mode);

	e->again = true;
	e->unknown = *path && !stayed;
}

/* @old, @new: entries of one path, at least one of them; @compared: @old was */
static int merge_one(struct rb_manifest *to, const struct rb_manifest *base,
		     const struct manifest_entry *old, bool compared, const struct rb_manifest *now,
		     const struct manifest_entry *new, bool arrived)
{
	struct manifest_entry e;

	if (new && (arrived || new->send || !old)) {
		e = *new;
		if (!arrived)
			doubt(&e, manifest_path(now, new), old);
		return manifest_copy(to, now, &e);
	}
	if (!old || (arrived && compared))
		return 0;
	e = *old;
	if (!arrived && compared && !new)
		doubt(&e, manifest_path(base, old), NULL);
	return manifest_copy(to, base, &e);
}

struct rb_manifest *manifest_merge(const struct rb_manifest *base,
				   const struct rb_manifest *part_base,
				   const struct rb_manifest *now, bool arrived)
{
	struct walk old = { base, 0 }, part = { part_base, 0 }, new = { now, 0 };
	struct rb_manifest *m = calloc(1, sizeof(*m));
	int r = m ? 0 : -ENOMEM;

	while (r == 0) {
		const char *a = next_path(&old), *b = next_path(&new), *path;
		const struct manifest_entry *e, *f;
		bool compared;

		if (!a && !b)
			break;
		path = !b || (a && strcmp(a, b) < 0) ? a : b;
		e = pass(&old, path);
		f = pass(&new, path);
		compared = !part_base || pass(&part, path);
		r = merge_one(m, base, e, compared, now, f, arrived);
	}
	if (r == 0)
		return m;
	rb_manifest_free(m);
	return NULL;
}
