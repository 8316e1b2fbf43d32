// SPDX-License-Identifier: Apache-2.0
/*
 * spec_mounts.c - the mounts of a container: what create must be told, and what must travel
 *
 * A mount can come from HostConfig.Binds ("-v"), HostConfig.Mounts ("--mount"), HostConfig.Tmpfs,
 * HostConfig.VolumesFrom, or Config.Volumes (anonymous, mostly from the image). inspect.Mounts is
 * the outcome: every volume and bind, with the name that an anonymous volume got. What the user
 * wrote stays as it was written; entries without a volume's name get it, and what is still not
 * covered (Config.Volumes, VolumesFrom) becomes an entry of Mounts. Config.Volumes can stay beside
 * it: Docker skips those whose destination has a mount.
 *
 * An anonymous volume is from then on a named one for `docker rm -v` (Docker remembers that the
 * name was given); `docker volume prune` still goes by the volume's label, which travels with it.
 */
#include "spec.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "spec_internal.h"

/* What Go's path.Clean() makes of an absolute path; -ENAMETOOLONG if it does not fit. */
static int clean_path(const char *path, char ret[PATH_MAX])
{
	size_t used = 0;

	while (*path) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len == 2 && strncmp(path, "..", 2) == 0) {
			while (used > 0 && ret[--used] != '/')
				;
		} else if (!(len == 1 && *path == '.')) {
			if (used + 1 + len + 1 > PATH_MAX)
				return -ENAMETOOLONG;
			ret[used++] = '/';
			memcpy(ret + used, path, len);
			used += len;
		}
		path += len;
	}
	if (used == 0)
		ret[used++] = '/';
	ret[used] = '\0';
	return 0;
}

static bool same_path(const char *a, const char *b)
{
	char one[PATH_MAX], two[PATH_MAX];

	return clean_path(a, one) == 0 && clean_path(b, two) == 0 && strcmp(one, two) == 0;
}

/* the mount of inspect.Mounts at @destination; borrowed, NULL if there is none */
static json_t *mount_at(const json_t *mounts, const char *destination)
{
	json_t *mount;
	size_t i;

	json_array_foreach (mounts, i, mount)
		if (same_path(rb_json_str(mount, "Destination", ""), destination))
			return mount;
	return NULL;
}

static bool is_volume(const json_t *mount)
{
	return strcmp(rb_json_str(mount, "Type", ""), "volume") == 0 &&
	       *rb_json_str(mount, "Name", "");
}

/* the destination of "[source:]destination[:mode]" */
static int bind_destination(const char *bind, char ret[PATH_MAX])
{
	const char *start = strchr(bind, ':');
	size_t len;

	start = start ? start + 1 : bind;
	len = strcspn(start, ":");
	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(ret, start, len);
	ret[len] = '\0';
	return 0;
}

/* is @destination in what the user wrote? */
static bool is_written(const json_t *host, const char *destination)
{
	char path[PATH_MAX];
	json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(host, "Binds"), i, entry)
		if (json_is_string(entry) &&
		    bind_destination(json_string_value(entry), path) == 0 &&
		    same_path(path, destination))
			return true;
	json_array_foreach (json_object_get(host, "Mounts"), i, entry)
		if (same_path(rb_json_str(entry, "Target", ""), destination))
			return true;
	return false;
}

/* "/data" alone is an anonymous volume: give it its name */
static int name_binds(const json_t *mounts, json_t *host)
{
	json_t *binds = json_object_get(host, "Binds"), *bind;
	size_t i;

	json_array_foreach (binds, i, bind) {
		const char *text = json_string_value(bind);
		const json_t *mount = text && !strchr(text, ':') ? mount_at(mounts, text) : NULL;

		if (mount && is_volume(mount) &&
		    json_array_set_new(binds, i,
				       json_sprintf("%s:%s", rb_json_str(mount, "Name", ""), text)))
			return -ENOMEM;
	}
	return 0;
}

/* Engines before API 1.42 accepted options of another type and ignored them; later ones refuse. */
static void drop_foreign_options(json_t *entry, const char *type)
{
	static const struct {
		const char *type, *options;
	} kinds[] = {
		{ "bind", "BindOptions" },
		{ "volume", "VolumeOptions" },
		{ "tmpfs", "TmpfsOptions" },
		{ "image", "ImageOptions" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(type, kinds[i].type) != 0)
			json_object_del(entry, kinds[i].options);
}

static int name_mounts(const json_t *mounts, json_t *host)
{
	json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(host, "Mounts"), i, entry) {
		const char *type = rb_json_str(entry, "Type", "");
		const json_t *mount;

		drop_foreign_options(entry, type);
		if (strcmp(type, "volume") != 0 || *rb_json_str(entry, "Source", ""))
			continue;
		mount = mount_at(mounts, rb_json_str(entry, "Target", ""));
		if (mount && is_volume(mount) &&
		    json_object_set_new(entry, "Source",
					json_string(rb_json_str(mount, "Name", ""))))
			return -ENOMEM;
	}
	return 0;
}

/* an entry of HostConfig.Mounts for a mount that nobody wrote down */
static json_t *mount_entry(const json_t *mount)
{
	bool read_only = !rb_json_bool(mount, "RW", true);
	const char *destination = rb_json_str(mount, "Destination", "");
	const char *propagation = rb_json_str(mount, "Propagation", "");
	json_t *entry;

	if (is_volume(mount))
		/* its content comes from the source, so the image's files are not wanted in it */
		return json_pack("{s:s, s:s, s:s, s:b, s:{s:b, s:{s:s}}}", "Type", "volume",
				 "Source", rb_json_str(mount, "Name", ""), "Target", destination,
				 "ReadOnly", read_only, "VolumeOptions", "NoCopy", 1,
				 "DriverConfig", "Name", rb_json_str(mount, "Driver", "local"));
	entry = json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source",
			  rb_json_str(mount, "Source", ""), "Target", destination, "ReadOnly",
			  read_only);
	if (entry && *propagation &&
	    json_object_set_new(entry, "BindOptions",
				json_pack("{s:s}", "Propagation", propagation))) {
		json_decref(entry);
		return NULL;
	}
	return entry;
}

/* inspect.Mounts is in random order: make an object by destination */
static json_t *mounts_by_destination(const json_t *mounts)
{
	json_t *out = json_object(), *mount;
	size_t i;

	json_array_foreach (mounts, i, mount) {
		if (!out || json_object_set(out, rb_json_str(mount, "Destination", ""), mount)) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

static int add_unwritten(const json_t *mounts, json_t *host)
{
	_cleanup_json_ json_t *by_destination = mounts_by_destination(mounts), *keys = NULL;
	json_t *list, *key;
	size_t i;

	keys = by_destination ? rb_spec_sorted_keys(by_destination) : NULL;
	if (!keys)
		return -ENOMEM;
	json_array_foreach (keys, i, key) {
		const char *destination = json_string_value(key);
		const json_t *mount = json_object_get(by_destination, destination);
		const char *type = rb_json_str(mount, "Type", "");

		if (is_written(host, destination) ||
		    !(is_volume(mount) || strcmp(type, "bind") == 0))
			continue;
		list = json_object_get(host, "Mounts");
		if (!json_is_array(list)) {
			list = json_array();
			if (json_object_set_new(host, "Mounts", list))
				return -ENOMEM;
		}
		if (json_array_append_new(list, mount_entry(mount)))
			return -ENOMEM;
	}
	return 0;
}

int rb_spec_apply_mounts(const json_t *inspect, json_t *host)
{
	const json_t *mounts = json_object_get(inspect, "Mounts");
	int r;

	json_object_del(host, "VolumesFrom");
	r = name_binds(mounts, host);
	if (r == 0)
		r = name_mounts(mounts, host);
	if (r == 0)
		r = add_unwritten(mounts, host);
	return r;
}

/* "name:/data:ro" becomes "name:/data:ro,nocopy" */
static int forbid_in_bind(json_t *binds, size_t i, const char *name)
{
	const char *bind = json_string_value(json_array_get(binds, i));
	size_t len = strlen(name);
	const char *mode;

	if (!bind || strncmp(bind, name, len) != 0 || bind[len] != ':')
		return 0;
	mode = strchr(bind + len + 1, ':');
	if (mode && strstr(mode, "nocopy"))
		return 0;
	return json_array_set_new(binds, i, json_sprintf("%s%cnocopy", bind, mode ? ',' : ':'))
		       ? -ENOMEM
		       : 0;
}

static int forbid_in_mount(json_t *mount, const char *name)
{
	json_t *options = json_object_get(mount, "VolumeOptions");

	if (strcmp(rb_json_str(mount, "Type", ""), "volume") != 0 ||
	    strcmp(rb_json_str(mount, "Source", ""), name) != 0)
		return 0;
	if (!json_is_object(options)) {
		options = json_object();
		if (json_object_set_new(mount, "VolumeOptions", options))
			return -ENOMEM;
	}
	return json_object_set_new(options, "NoCopy", json_true()) ? -ENOMEM : 0;
}

int rb_spec_forbid_copy(json_t *body, const char *volume, struct rb_err *err)
{
	json_t *binds = rb_json_path(body, "HostConfig.Binds"), *mount;
	int r = 0;
	size_t i;

	for (i = 0; r == 0 && i < json_array_size(binds); i++)
		r = forbid_in_bind(binds, i, volume);
	json_array_foreach (rb_json_path(body, "HostConfig.Mounts"), i, mount)
		if (r == 0)
			r = forbid_in_mount(mount, volume);
	return r < 0 ? rb_err_set(err, r, "describe the volume '%s'", volume) : 0;
}

/* --- what must travel --- */

/* what the user wrote for the volume at @destination; NULL for Binds and anonymous ones */
static const json_t *written_options(const json_t *inspect, const char *destination)
{
	json_t *entry;
	size_t i;

	json_array_foreach (rb_json_path(inspect, "HostConfig.Mounts"), i, entry)
		if (same_path(rb_json_str(entry, "Target", ""), destination))
			return json_object_get(entry, "VolumeOptions");
	return NULL;
}

/* did Docker choose the name? */
static bool is_anonymous(const json_t *inspect, const json_t *mount)
{
	const char *destination = rb_json_str(mount, "Destination", "");
	const char *name = rb_json_str(mount, "Name", "");
	size_t len = strlen(name), i;
	char path[PATH_MAX];
	json_t *entry;

	json_array_foreach (rb_json_path(inspect, "HostConfig.Binds"), i, entry) {
		const char *text = json_string_value(entry);

		if (text && strncmp(text, name, len) == 0 && text[len] == ':' &&
		    bind_destination(text, path) == 0 && same_path(path, destination))
			return false;
	}
	json_array_foreach (rb_json_path(inspect, "HostConfig.Mounts"), i, entry)
		if (same_path(rb_json_str(entry, "Target", ""), destination))
			return !*rb_json_str(entry, "Source", "");
	/* VolumesFrom brings named ones too; only the look of the name tells them apart */
	return len == 64 && strspn(name, "0123456789abcdef") == 64;
}

static json_t *describe_volume(const json_t *inspect, const json_t *mount)
{
	const char *destination = rb_json_str(mount, "Destination", "");
	const json_t *written = written_options(inspect, destination);
	json_t *options = rb_json_path(written, "DriverConfig.Options");
	json_t *labels = json_object_get(written, "Labels");

	return json_pack(
		"{s:s, s:s, s:o, s:o, s:s, s:s, s:b, s:b}", "name", rb_json_str(mount, "Name", ""),
		"driver", rb_json_str(mount, "Driver", "local"), "options",
		json_is_object(options) ? json_deep_copy(options) : json_object(), "labels",
		json_is_object(labels) ? json_deep_copy(labels) : json_object(), "destination",
		destination, "source", rb_json_str(mount, "Source", ""), "rw",
		rb_json_bool(mount, "RW", true), "anonymous", is_anonymous(inspect, mount));
}

static json_t *describe_bind(const json_t *inspect, const json_t *mount)
{
	(void)inspect;
	return json_pack("{s:s, s:s, s:b}", "source", rb_json_str(mount, "Source", ""),
			 "destination", rb_json_str(mount, "Destination", ""), "rw",
			 rb_json_bool(mount, "RW", true));
}

static int list_mounts(const json_t *inspect, bool volumes,
		       json_t *(*describe)(const json_t *inspect, const json_t *mount),
		       json_t **ret, struct rb_err *err)
{
	const json_t *mounts = json_object_get(inspect, "Mounts");
	_cleanup_json_ json_t *out = json_array(), *keys = NULL;
	_cleanup_json_ json_t *by_destination = mounts_by_destination(mounts);
	json_t *key;
	size_t i;

	keys = by_destination ? rb_spec_sorted_keys(by_destination) : NULL;
	if (!keys || !out)
		return rb_err_set(err, -ENOMEM, "list the mounts");
	json_array_foreach (keys, i, key) {
		const json_t *mount = json_object_get(by_destination, json_string_value(key));
		bool wanted = volumes ? is_volume(mount)
				      : strcmp(rb_json_str(mount, "Type", ""), "bind") == 0;

		if (wanted && json_array_append_new(out, describe(inspect, mount)))
			return rb_err_set(err, -ENOMEM, "list the mounts");
	}
	*ret = TAKE_PTR(out);
	return 0;
}

int rb_spec_volumes(const json_t *inspect, json_t **ret, struct rb_err *err)
{
	return list_mounts(inspect, true, describe_volume, ret, err);
}

int rb_spec_binds(const json_t *inspect, json_t **ret, struct rb_err *err)
{
	return list_mounts(inspect, false, describe_bind, ret, err);
}
