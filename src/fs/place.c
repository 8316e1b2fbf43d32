// SPDX-License-Identifier: Apache-2.0
/*
 * place.c - which file system a path is on, and whether other hosts may have the same one
 */
#include "place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "mounts.h"

/* One word for the versions of a protocol: hosts agree on them with the server, each for itself. */
static const struct {
	const char *type, *family;
} shared_types[] = {
	{ "nfs", "nfs" },
	{ "nfs4", "nfs" },
	{ "ceph", "ceph" },
	{ "fuse.ceph", "ceph" },
	{ "fuse.ceph-fuse", "ceph" },
	{ "cifs", "cifs" },
	{ "smb3", "cifs" },
	{ "smbfs", "cifs" },
	{ "glusterfs", "gluster" },
	{ "fuse.glusterfs", "gluster" },
	{ "lustre", "lustre" },
	{ "gpfs", "gpfs" },
	{ "beegfs", "beegfs" },
	{ "gfs2", "gfs2" },
	{ "ocfs2", "ocfs2" },
	{ "afs", "afs" },
	{ "orangefs", "orangefs" },
	{ "pvfs2", "orangefs" },
	{ "fuse.moosefs", "moosefs" },
	{ "fuse.lizardfs", "lizardfs" },
	{ "fuse.juicefs", "juicefs" },
};

static const char *family_of(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(shared_types); i++)
		if (strcmp(shared_types[i].type, type) == 0)
			return shared_types[i].family;
	return NULL;
}

struct search {
	const char *path;
	size_t best; /* length of the mount point that was found, plus 1 */
	struct rb_place *place;
};

/* Length of @folder when @path is it, or inside of it; "/" has 0. Return: -1: it is not */
static ssize_t inside_of(const char *path, const char *folder)
{
	size_t len = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

	if (strncmp(path, folder, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return -1;
	return (ssize_t)len;
}

static int consider(const struct mount_line *line, void *arg)
{
	struct search *search = arg;
	struct rb_place *place = search->place;
	ssize_t len = inside_of(search->path, line->point);
	const char *root = strcmp(line->root, "/") == 0 ? "" : line->root;
	const char *rest;

	/* of several at one point the last one is on top */
	if (len < 0 || (size_t)len + 1 < search->best)
		return 0;
	search->best = (size_t)len + 1;
	rest = search->path + len;
	if (strcmp(rest, "/") == 0)
		rest = "";
	snprintf(place->device, sizeof(place->device), "%s", line->device);
	snprintf(place->type, sizeof(place->type), "%s", line->type);
	snprintf(place->source, sizeof(place->source), "%s", line->source ? line->source : "");
	if (snprintf(place->point, sizeof(place->point), "%s", line->point) >= PATH_MAX ||
	    snprintf(place->inside, sizeof(place->inside), "%s%s", root, rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (!*place->inside)
		strcpy(place->inside, "/");
	return 0;
}

int rb_place_find(const char *mountinfo, const char *path, struct rb_place *ret, struct rb_err *err)
{
	struct search search = { .path = path, .place = ret };
	int r;

	*ret = (struct rb_place){};
	r = mounts_each(mountinfo, consider, &search);
	if (r >= 0 && !search.best)
		r = -ENOENT;
	return r < 0 ? rb_err_set(err, r, "find the file system of '%s'", path) : 0;
}

struct wanted {
	const struct rb_place *place;
	bool found;
	int *ids;
	int n, size;
	struct rb_buf points; /* of the mounts that were found, each with its NUL */
};

static bool is_within_found(const struct wanted *wanted, const char *point)
{
	for (size_t at = 0; at < wanted->points.len; at += strlen(wanted->points.data + at) + 1)
		if (inside_of(point, wanted->points.data + at) >= 0)
			return true;
	return false;
}

/* What is mounted inside of something comes after it. */
static int compare_part(const struct mount_line *line, void *arg)
{
	struct wanted *wanted = arg;
	bool part = strcmp(line->device, wanted->place->device) == 0 &&
		    inside_of(line->root, wanted->place->inside) >= 0;

	if (!part && !(family_of(line->type) && is_within_found(wanted, line->point)))
		return 0;
	if (wanted->n < wanted->size)
		wanted->ids[wanted->n] = line->id;
	wanted->n++;
	return rb_buf_add(&wanted->points, line->point, strlen(line->point) + 1);
}

int rb_place_mount_ids(const char *mountinfo, const struct rb_place *place, int *ret, int size)
{
	struct wanted wanted = { .place = place, .ids = ret, .size = size };
	int r = mounts_each(mountinfo, compare_part, &wanted);

	rb_buf_free(&wanted.points);
	return r < 0 ? r : wanted.n;
}

static int compare(const struct mount_line *line, void *arg)
{
	struct wanted *wanted = arg;

	if (strcmp(line->device, wanted->place->device) == 0 &&
	    strcmp(line->root, wanted->place->inside) == 0)
		wanted->found = true;
	return 0;
}

int rb_place_is_mounted(const char *mountinfo, const struct rb_place *place)
{
	struct wanted wanted = { .place = place };
	int r = mounts_each(mountinfo, compare, &wanted);

	return r < 0 ? r : wanted.found;
}

bool rb_place_is_shared(const struct rb_place *place)
{
	return family_of(place->type) != NULL;
}

json_t *rb_place_json(const struct rb_place *place)
{
	return json_pack("{s:s, s:s, s:o, s:o}", "device", place->device, "type", place->type,
			 "source", rb_json_text(place->source), "inside",
			 rb_json_text(place->inside));
}

void rb_place_from_json(const json_t *json, struct rb_place *ret)
{
	*ret = (struct rb_place){};
	snprintf(ret->device, sizeof(ret->device), "%s", rb_json_str(json, "device", ""));
	snprintf(ret->type, sizeof(ret->type), "%s", rb_json_str(json, "type", ""));
	snprintf(ret->source, sizeof(ret->source), "%s", rb_json_str(json, "source", ""));
	snprintf(ret->inside, sizeof(ret->inside), "%s", rb_json_str(json, "inside", ""));
}

bool rb_place_is_same(const struct rb_place *ours, const json_t *theirs)
{
	const char *family = family_of(ours->type);
	const char *other = family_of(rb_json_str(theirs, "type", ""));

	return family && other && strcmp(family, other) == 0 &&
	       strcmp(ours->source, rb_json_str(theirs, "source", "")) == 0 &&
	       strcmp(ours->inside, rb_json_str(theirs, "inside", "")) == 0;
}
