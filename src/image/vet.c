// SPDX-License-Identifier: Apache-2.0
/*
 * vet.c - is an archive nothing but the image that was described?
 *
 * `docker load` does whatever an archive says: it loads each image in it, and takes the names that
 * it brings away from other images. The peer saves by ID, so there is one image, and no name. A
 * peer that says something else is not believed:
 *
 *   blobs/sha256/<digits>     an object, whose digest was checked
 *   <digits>/layer.tar        one, too, or a link to another layer's (legacy.h)
 *   <digits>/{json,VERSION}   not read by any Docker that we speak to: left out
 *   <digits>.json             the configuration: its digest is its name
 *   manifest.json             one image, without names; its configuration is the ID that was
 *                             described, where IDs are made so
 *   index.json, oci-layout    as manifest.json, for containerd's store
 *
 * and nothing else, none of it twice. Docker gets an archive of these entries that we make
 * (vetted.c).
 */
#include "vet.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "gather.h"
#include "json.h"
#include "vetted.h"

#define TEXT_MAX  ((int64_t)8 << 20) /* of a configuration or manifest */
#define READ_SIZE ((size_t)64 << 10)

struct vet {
	struct rb_gather *gather;
	struct rb_vetted *vetted;
	const json_t *description;
	const char *id; /* digits, or "" where it is no configuration's */
	struct archive *in;
	struct archive_entry *entry;
	const char *path;
	json_t *seen;
	bool has_manifest;
	uint8_t buf[READ_SIZE];
	struct rb_err *err;
};

static int refuse(const struct vet *v, const char *why)
{
	return rb_err_code(v->err, RB_E_PROTOCOL, -EBADMSG,
			   "the image's archive is not what was described: '%.100s': %s", v->path,
			   why);
}

/* what adding an entry for Docker returned */
static int keep(const struct vet *v, int r)
{
	if (r == -ENOENT)
		return refuse(v, "was not checked");
	if (r == -E2BIG)
		return refuse(v, "it is too large");
	return r < 0 ? rb_err_set(v->err, r, "look at an image's archive") : 0;
}

static la_ssize_t on_read(struct archive *a, void *arg, const void **ret_block)
{
	struct vet *v = arg;
	ssize_t n = rb_gather_read(v->gather, v->buf, READ_SIZE);

	*ret_block = v->buf;
	if (n < 0)
		archive_set_error(a, -(int)n, "read");
	return n < 0 ? -1 : n;
}

static la_int64_t on_skip(struct archive *a, void *arg, la_int64_t bytes)
{
	(void)a;
	return (la_int64_t)rb_gather_skip(((struct vet *)arg)->gather, (uint64_t)bytes);
}

/* 64 digits, and then exactly @rest */
static bool is_digits(const char *text, const char *rest)
{
	uint8_t ignored[RB_DIGEST_BYTES];

	return rb_hex_decode(text, ignored) && strcmp(text + RB_DIGEST_DIGITS, rest) == 0;
}

static bool is_blob(const char *path)
{
	return strncmp(path, "blobs/sha256/", 13) == 0 && is_digits(path + 13, "");
}

/* the entry's content as a text, to be freed, and for Docker; NULL with the error */
static char *read_text(struct vet *v, size_t *ret_len, int *ret)
{
	int64_t size = archive_entry_size(v->entry);
	char *text;

	if (size < 0 || size > TEXT_MAX) {
		*ret = refuse(v, "it is too large");
		return NULL;
	}
	text = calloc(1, (size_t)size + 1);
	if (!text) {
		*ret = rb_err_set(v->err, -ENOMEM, "look at an image's archive");
		return NULL;
	}
	if (archive_read_data(v->in, text, (size_t)size) != size) {
		*ret = refuse(v, "it is cut");
	} else {
		*ret_len = (size_t)size;
		*ret = keep(v, rb_vetted_add_text(v->vetted, v->path, text, (size_t)size));
	}
	if (*ret == 0)
		return text;
	free(text);
	return NULL;
}

static int vet_config(struct vet *v)
{
	struct rb_digest *digest = rb_digest_new();
	_cleanup_free_ char *text = NULL;
	uint8_t sum[RB_DIGEST_BYTES];
	char hex[RB_DIGEST_DIGITS + 1] = "";
	size_t len = 0;
	int r = 0;

	text = read_text(v, &len, &r);
	if (text && digest && rb_digest_start(digest) && rb_digest_add(digest, text, len) &&
	    rb_digest_end(digest, sum))
		rb_hex_encode(sum, hex);
	rb_digest_free(digest);
	if (r < 0)
		return r;
	return strncmp(hex, v->path, RB_DIGEST_DIGITS) == 0 ? 0 : refuse(v, "its digest is wrong");
}

/* Go takes keys without regard to case, so one that is not known may be one that is. */
static bool has_only(const json_t *object, const char *const *keys)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)object, key, value) {
		const char *const *known = keys;

		while (*known && strcmp(*known, key) != 0)
			known++;
		if (!*known)
			return false;
	}
	return json_is_object(object);
}

static int vet_layers(struct vet *v, const json_t *files)
{
	const json_t *file;
	size_t i;

	json_array_foreach (files, i, file) {
		const char *path = json_string_value(file);

		if (!path || (!is_blob(path) && !is_digits(path, "/layer.tar")))
			return refuse(v, "it names layers that are elsewhere");
	}
	return 0;
}

static int vet_manifest(struct vet *v)
{
	static const char *const keys[] = { "Config", "RepoTags", "Layers", "LayerSources", NULL };
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *manifest = NULL;
	const json_t *image, *names;
	const char *config;
	size_t len = 0;
	int r = 0;

	text = read_text(v, &len, &r);
	if (r < 0)
		return r;
	if (rb_json_parse(text, len, &manifest, NULL) < 0 || !json_is_array(manifest) ||
	    json_array_size(manifest) != 1)
		return refuse(v, "it does not have one image");
	image = json_array_get(manifest, 0);
	names = json_object_get(image, "RepoTags");
	if (names && !json_is_null(names) && json_array_size(names) + !json_is_array(names))
		return refuse(v, "it brings names");
	if (!has_only(image, keys))
		return refuse(v, "it says more than where its layers are");
	config = rb_json_str(image, "Config", "");
	if (!is_blob(config) && !is_digits(config, ".json"))
		return refuse(v, "it names a configuration that is elsewhere");
	if (*v->id && !strstr(config, v->id))
		return refuse(v, "it is another image");
	v->has_manifest = true;
	return vet_layers(v, json_object_get(image, "Layers"));
}

/* containerd takes names from here. An image that is saved by its ID has none but that. */
static int vet_index_entry(struct vet *v, const json_t *one)
{
	static const char *const keys[] = { "mediaType",   "digest",	   "size", "platform",
					    "annotations", "artifactType", NULL };
	const char *name =
		rb_json_str(json_object_get(one, "annotations"), "io.containerd.image.name", NULL);

	if (!has_only(one, keys))
		return refuse(v, "it says more than where its manifests are");
	if (name && strncmp(name, "docker.io/library/", 18) == 0)
		name += 18;
	return name && strncmp(name, "sha256:", 7) != 0 ? refuse(v, "it brings a name") : 0;
}

static int vet_index(struct vet *v)
{
	static const char *const keys[] = { "schemaVersion", "mediaType", "manifests", NULL };
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *index = NULL;
	const json_t *one;
	size_t i, len = 0;
	int r = 0;

	text = read_text(v, &len, &r);
	if (r < 0)
		return r;
	if (rb_json_parse(text, len, &index, NULL) < 0 || !has_only(index, keys))
		return refuse(v, "it is no index of one image");
	json_array_foreach (json_object_get(index, "manifests"), i, one) {
		r = vet_index_entry(v, one);
		if (r < 0)
			return r;
	}
	return 0;
}

/* of which only the version is read */
static int vet_layout(struct vet *v)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = 0;

	text = read_text(v, &len, &r);
	return r;
}

static int vet_link(struct vet *v)
{
	const char *to = archive_entry_symlink(v->entry);

	if (is_digits(v->path, "/layer.tar") && to && strncmp(to, "../", 3) == 0 &&
	    is_digits(to + 3, "/layer.tar"))
		return keep(v, rb_vetted_add_link(v->vetted, v->path, to));
	return refuse(v, "a link that belongs there in no archive");
}

static int vet_file(struct vet *v)
{
	uint8_t key[RB_DIGEST_BYTES];

	if (is_blob(v->path)) {
		rb_hex_decode(v->path + 13, key);
		return keep(v, rb_vetted_add_object(v->vetted, v->path, RB_OBJECT_BLOB, key));
	}
	if (is_digits(v->path, "/layer.tar")) {
		rb_hex_decode(v->path, key);
		return keep(v, rb_vetted_add_object(v->vetted, v->path, RB_OBJECT_LEGACY, key));
	}
	if (is_digits(v->path, ".json"))
		return vet_config(v);
	if (strcmp(v->path, "manifest.json") == 0)
		return vet_manifest(v);
	if (strcmp(v->path, "index.json") == 0)
		return vet_index(v);
	if (strcmp(v->path, "oci-layout") == 0)
		return vet_layout(v);
	if (is_digits(v->path, "/json") || is_digits(v->path, "/VERSION"))
		return 0;
	return refuse(v, "belongs there in no archive");
}

static int vet_entry(struct vet *v)
{
	const char *path = archive_entry_pathname(v->entry);

	v->path = path ? path : "";
	if (strncmp(v->path, "./", 2) == 0)
		v->path += 2;
	if (json_object_get(v->seen, v->path))
		return refuse(v, "is there twice");
	if (json_object_set_new(v->seen, v->path, json_true()) < 0)
		return refuse(v, "has a strange name");
	if (archive_entry_hardlink(v->entry))
		return refuse(v, "a link that belongs there in no archive");
	switch (archive_entry_filetype(v->entry)) {
	case AE_IFREG:
		return vet_file(v);
	case AE_IFLNK:
		return vet_link(v);
	case AE_IFDIR:
		if (strcmp(v->path, "blobs/") == 0 || strcmp(v->path, "blobs/sha256/") == 0 ||
		    is_digits(v->path, "/"))
			return keep(v, rb_vetted_add_folder(v->vetted, v->path));
		break;
	default:
		break;
	}
	return refuse(v, "belongs there in no archive");
}

static int vet_all(struct vet *v)
{
	int a, r;

	archive_read_support_format_tar(v->in);
	archive_read_set_read_callback(v->in, on_read);
	archive_read_set_skip_callback(v->in, on_skip);
	archive_read_set_callback_data(v->in, v);
	a = archive_read_open1(v->in);
	while (a >= ARCHIVE_WARN &&
	       (a = archive_read_next_header(v->in, &v->entry)) >= ARCHIVE_WARN &&
	       a != ARCHIVE_EOF) {
		r = vet_entry(v);
		if (r < 0)
			return r;
	}
	v->path = "manifest.json";
	if (a != ARCHIVE_EOF)
		return rb_err_code(v->err, RB_E_PROTOCOL, -EBADMSG,
				   "the image's archive is damaged: %s",
				   archive_error_string(v->in));
	return v->has_manifest ? 0 : refuse(v, "is missing");
}

int rb_vet_archive(struct rb_gather *gather, const json_t *description, struct rb_vetted **ret,
		   struct rb_err *err)
{
	const char *id = rb_json_str(description, "id", "");
	_cleanup_free_ struct vet *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return rb_err_set(err, -ENOMEM, "look at an image's archive");
	v->gather = gather;
	v->description = description;
	v->err = err;
	/* in containerd's store an ID is a manifest's digest */
	v->id = strcmp(rb_json_str(description, "store", "layers"), "layers") == 0 &&
				strncmp(id, "sha256:", 7) == 0
			? id + 7
			: "";
	v->in = archive_read_new();
	v->seen = json_object();
	v->vetted = rb_vetted_new(gather);
	r = v->in && v->seen && v->vetted ? vet_all(v)
					  : rb_err_set(err, -ENOMEM, "look at an image's archive");
	if (v->in)
		archive_read_free(v->in);
	json_decref(v->seen);
	if (r == 0)
		*ret = TAKE_PTR(v->vetted);
	rb_vetted_free(v->vetted);
	return r;
}
