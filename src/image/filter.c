// SPDX-License-Identifier: Apache-2.0
/*
 * filter.c - take layers out of the archive that `docker save` writes
 *
 * The archive holds one image (we save by ID, so it has no tags either), in one of two forms:
 *
 *   Docker >= 25   blobs/sha256/<digest>: with Docker's own layer store a layer's blob is the layer
 *                  itself, and the digest its diff ID
 *   Docker <= 24   <v1 id>/{VERSION,json,layer.tar}: see legacy.c
 *
 * All else goes through. A layer is never dropped when one further up has the same content, since
 * the archive holds it once for both (as one blob, or as a symbolic link to the first). A blob that
 * is not known by these rules (compressed, in containerd's store) is not dropped either.
 *
 * When Docker fails in the middle of a save, it ends the transfer in good order, with its error's
 * text instead of the rest. That is no valid tar any more, or lacks manifest.json.
 */
#include "filter.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "legacy.h"

#define COPY_SIZE     ((size_t)256 << 10)
#define CONFIG_MAX    ((size_t)1 << 20) /* a folder's "json" is some 500 bytes */
#define DIGEST_DIGITS 64
#define TAR_BLOCK     512

struct state {
	struct rb_image_filter *filter;
	struct archive *in, *out;
	json_t *unwanted; /* diff ID -> chain IDs (array) of layers to leave out */
	json_t *folders;  /* v1 IDs that are known to hold one of them */
	char *buf;	  /* COPY_SIZE */
	bool all;	  /* no layer is wanted */
	bool has_manifest;
	int callback_error; /* of a callback; negative errno */
	struct rb_err *err;
};

static void state_free(struct state *s)
{
	if (s->in)
		archive_read_free(s->in);
	if (s->out)
		archive_write_free(s->out);
	json_decref(s->unwanted);
	json_decref(s->folders);
	free(s->buf);
}

static int out_of_memory(struct state *s)
{
	return rb_err_set(s->err, -ENOMEM, "filter the image");
}

/* --- libarchive's callbacks --- */

static la_ssize_t on_read(struct archive *a, void *arg, const void **ret_block)
{
	struct state *s = arg;
	ssize_t n = s->filter->read(s->filter->arg, ret_block, s->err);

	if (n >= 0)
		return n;
	s->callback_error = (int)n;
	archive_set_error(a, -(int)n, "read");
	return -1;
}

/* libarchive leaks when a writer fails: so it is not told, and we look at callback_error instead */
static la_ssize_t on_write(struct archive *a, void *arg, const void *data, size_t len)
{
	struct state *s = arg;

	(void)a;
	if (!s->callback_error)
		s->callback_error = s->filter->write(s->filter->arg, data, len, s->err);
	return (la_ssize_t)len;
}

/* libarchive failed: because of one of the callbacks, or of what it read */
static int archive_failed(struct state *s, struct archive *a)
{
	const char *text;

	if (s->callback_error)
		return s->callback_error;
	text = archive_error_string(a);
	return rb_err_code(s->err, RB_E_ENGINE, -EIO,
			   "Docker's archive of the image is damaged or incomplete: %s",
			   text ? text : "no explanation");
}

static int set_up(struct state *s)
{
	s->buf = malloc(COPY_SIZE);
	s->in = archive_read_new();
	s->out = archive_write_new();
	if (!s->buf || !s->in || !s->out)
		return out_of_memory(s);
	archive_read_support_format_tar(s->in);
	if (archive_read_open(s->in, s, NULL, on_read, NULL) != ARCHIVE_OK)
		return archive_failed(s, s->in);
	archive_write_set_format_pax_restricted(s->out);
	/* at once, or what is written would not stand between the objects: what is neither is small
	 */
	archive_write_set_bytes_per_block(s->out, s->filter->object ? 0 : (int)COPY_SIZE);
	archive_write_set_bytes_in_last_block(s->out, 1);
	if (archive_write_open(s->out, s, NULL, on_write, NULL) != ARCHIVE_OK)
		return archive_failed(s, s->out);
	return 0;
}

/* --- what to leave out --- */

static bool is_wanted_above(const json_t *layers, size_t skip, const char *diff_id)
{
	for (size_t i = skip; i < json_array_size(layers); i++) {
		const char *text = json_string_value(json_array_get(layers, i));

		if (text && strcmp(text, diff_id) == 0)
			return true;
	}
	return false;
}

static int choose_layers(struct state *s)
{
	const json_t *layers = s->filter->layers;
	_cleanup_json_ json_t *chain = rb_layer_chain(layers);
	size_t count = json_array_size(layers), skip = 0;

	s->unwanted = json_object();
	s->folders = json_object();
	if (!chain || !s->unwanted || !s->folders)
		return out_of_memory(s);
	if (s->filter->skip_layers > 0)
		skip = (size_t)s->filter->skip_layers;
	if (skip > count)
		skip = count;
	s->all = skip == count && count > 0;
	for (size_t i = 0; i < skip; i++) {
		const char *diff_id = json_string_value(json_array_get(layers, i));
		json_t *chains;

		if (is_wanted_above(layers, skip, diff_id))
			continue;
		chains = json_object_get(s->unwanted, diff_id);
		if (!chains) {
			chains = json_array();
			if (json_object_set_new(s->unwanted, diff_id, chains))
				return out_of_memory(s);
		}
		if (json_array_append(chains, json_array_get(chain, i)))
			return out_of_memory(s);
	}
	return 0;
}

/* "<64 digits>/<file>" -> the digits in @ret; false for any other path */
static bool legacy_folder(const char *path, const char *file, char ret[DIGEST_DIGITS + 1])
{
	if (strspn(path, "0123456789abcdef") != DIGEST_DIGITS || path[DIGEST_DIGITS] != '/' ||
	    strcmp(path + DIGEST_DIGITS + 1, file) != 0)
		return false;
	memcpy(ret, path, DIGEST_DIGITS);
	ret[DIGEST_DIGITS] = '\0';
	return true;
}

/* "blobs/sha256/<64 digits>": points at the digits; NULL for any other path */
static const char *blob_digits(const char *path)
{
	static const char blobs[] = "blobs/sha256/";

	if (strncmp(path, blobs, strlen(blobs)) != 0 ||
	    strlen(path) != strlen(blobs) + DIGEST_DIGITS)
		return NULL;
	return path + strlen(blobs);
}

static bool is_dropped(struct state *s, const char *path)
{
	char folder[DIGEST_DIGITS + 1], diff_id[sizeof("sha256:") + DIGEST_DIGITS];

	if (blob_digits(path)) {
		snprintf(diff_id, sizeof(diff_id), "sha256:%s", blob_digits(path));
		return json_object_get(s->unwanted, diff_id);
	}
	return legacy_folder(path, "layer.tar", folder) &&
	       (s->all || json_object_get(s->folders, folder));
}

/* is this entry an object? */
static bool is_object(struct state *s, struct archive_entry *entry, const char *path,
		      enum rb_object_form *ret_form, uint8_t ret_key[RB_DIGEST_BYTES])
{
	char folder[DIGEST_DIGITS + 1];

	if (!s->filter->object || archive_entry_filetype(entry) != AE_IFREG ||
	    archive_entry_hardlink(entry))
		return false;
	if (blob_digits(path)) {
		*ret_form = RB_OBJECT_BLOB;
		return rb_hex_decode(blob_digits(path), ret_key);
	}
	*ret_form = RB_OBJECT_LEGACY;
	return legacy_folder(path, "layer.tar", folder) && rb_hex_decode(folder, ret_key);
}

/* a folder's "json": is it one of the layers to leave out? */
static int note_folder(struct state *s, const char *folder, const char *text, size_t len)
{
	const char *diff_id;
	json_t *chains, *chain;
	size_t i;

	json_object_foreach (s->unwanted, diff_id, chains) {
		json_array_foreach (chains, i, chain) {
			if (!rb_legacy_is_layer(folder, text, len, json_string_value(chain)))
				continue;
			if (json_object_set_new(s->folders, folder, json_true()))
				return out_of_memory(s);
			return 0;
		}
	}
	return 0;
}

static int note_manifest(struct state *s, const char *text, size_t len)
{
	json_decref(s->filter->manifest);
	s->filter->manifest = NULL;
	rb_json_parse(text, len, &s->filter->manifest, NULL);
	return 0;
}

/* --- entries --- */

static int write_data(struct state *s, const char *data, size_t len)
{
	while (len) {
		la_ssize_t n = archive_write_data(s->out, data, len);

		if (n <= 0 || s->callback_error)
			return archive_failed(s, s->out);
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int copy_entry(struct state *s, struct archive_entry *entry)
{
	if (archive_write_header(s->out, entry) < ARCHIVE_WARN || s->callback_error)
		return archive_failed(s, s->out);
	for (;;) {
		la_ssize_t n = archive_read_data(s->in, s->buf, COPY_SIZE);
		int r;

		if (n < 0)
			return archive_failed(s, s->in);
		if (n == 0)
			return 0;
		r = write_data(s, s->buf, (size_t)n);
		if (r < 0)
			return r;
	}
}

/*
 * libarchive would fill an entry without data with zeros: so an object's header is written apart,
 * and nothing else of it. (archive_write_fail() is meant for that, and leaks.)
 */
struct header {
	struct state *s;
	bool done;
};

static la_ssize_t on_write_header(struct archive *a, void *arg, const void *data, size_t len)
{
	const struct header *header = arg;

	return header->done ? -1 : on_write(a, header->s, data, len);
}

static int write_object_header(struct state *s, struct archive_entry *entry)
{
	struct header header = { .s = s };
	struct archive *out = archive_write_new();
	int r = 0;

	if (!out)
		return out_of_memory(s);
	archive_write_set_format_pax_restricted(out);
	archive_write_set_bytes_per_block(out, 0);
	if (archive_write_open(out, &header, NULL, on_write_header, NULL) != ARCHIVE_OK ||
	    archive_write_header(out, entry) < ARCHIVE_WARN || s->callback_error)
		r = archive_failed(s, out);
	header.done = true;
	archive_write_free(out);
	return r;
}

/* what is known by a digest goes out by itself */
static int hand_out(struct state *s, struct archive_entry *entry, enum rb_object_form form,
		    const uint8_t *key)
{
	static const char zeros[TAR_BLOCK];
	struct rb_image_filter *filter = s->filter;
	uint64_t size = (uint64_t)archive_entry_size(entry);
	size_t padding = (size_t)(TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
	int r;

	if (archive_write_finish_entry(s->out) < ARCHIVE_WARN || s->callback_error)
		return archive_failed(s, s->out);
	r = write_object_header(s, entry);
	if (r == 0)
		r = filter->object(filter->arg, form, key, size, s->err);
	while (r == 0) {
		const void *block;
		size_t len;
		la_int64_t offset;
		int a = archive_read_data_block(s->in, &block, &len, &offset);

		if (a == ARCHIVE_EOF)
			break;
		if (a < ARCHIVE_WARN)
			return archive_failed(s, s->in);
		r = filter->object_data(filter->arg, block, len, s->err);
	}
	if (r == 0)
		r = filter->object_end(filter->arg, s->err);
	return r < 0 || !padding ? r : filter->write(filter->arg, zeros, padding, s->err);
}

/* the same for a small file, which is looked at on its way: manifest.json, a folder's "json" */
static int copy_text(struct state *s, struct archive_entry *entry, const char *folder)
{
	size_t len = (size_t)archive_entry_size(entry);
	_cleanup_free_ char *text = malloc(len + 1);
	la_ssize_t n;
	int r;

	if (!text)
		return out_of_memory(s);
	n = archive_read_data(s->in, text, len);
	if (n != (la_ssize_t)len)
		return archive_failed(s, s->in);
	r = folder ? note_folder(s, folder, text, len) : note_manifest(s, text, len);
	if (r < 0)
		return r;
	if (archive_write_header(s->out, entry) < ARCHIVE_WARN || s->callback_error)
		return archive_failed(s, s->out);
	return write_data(s, text, len);
}

static int filter_entry(struct state *s, struct archive_entry *entry)
{
	const char *path = archive_entry_pathname(entry);
	int64_t size = archive_entry_size(entry);
	char folder[DIGEST_DIGITS + 1];
	uint8_t key[RB_DIGEST_BYTES];
	enum rb_object_form form;

	if (!path)
		path = "";
	if (strncmp(path, "./", 2) == 0)
		path += 2;
	if (strcmp(path, "manifest.json") == 0) {
		s->has_manifest = true;
		if (s->filter->object && size > 0 && size <= (int64_t)CONFIG_MAX)
			return copy_text(s, entry, NULL);
	}
	if (is_dropped(s, path)) {
		s->filter->dropped_files++;
		s->filter->dropped_bytes += (uint64_t)size;
		return 0; /* archive_read_next_header() passes over its data */
	}
	if (is_object(s, entry, path, &form, key))
		return hand_out(s, entry, form, key);
	if (legacy_folder(path, "json", folder) && size > 0 && size <= (int64_t)CONFIG_MAX)
		return copy_text(s, entry, folder);
	return copy_entry(s, entry);
}

/* Behind the archive's end may be padding. Taking it lets the transfer end, and tell how it did. */
static int read_rest(struct state *s)
{
	const void *block;
	ssize_t n;

	do
		n = s->filter->read(s->filter->arg, &block, s->err);
	while (n > 0);
	return (int)n;
}

int rb_image_filter_run(struct rb_image_filter *filter, struct rb_err *err)
{
	_cleanup_(state_free) struct state s = { .filter = filter, .err = err };
	struct archive_entry *entry;
	int r, a;

	filter->dropped_bytes = 0;
	filter->dropped_files = 0;
	filter->manifest = NULL;
	r = choose_layers(&s);
	if (r == 0)
		r = set_up(&s);
	if (r < 0)
		return r;
	while ((a = archive_read_next_header(s.in, &entry)) >= ARCHIVE_WARN && a != ARCHIVE_EOF) {
		r = filter_entry(&s, entry);
		if (r < 0)
			return r;
	}
	if (a != ARCHIVE_EOF)
		return archive_failed(&s, s.in);
	r = read_rest(&s);
	if (r < 0)
		return r;
	if (!s.has_manifest)
		return rb_err_code(err, RB_E_ENGINE, -EIO,
				   "Docker's archive of the image is incomplete: it has no "
				   "manifest.json");
	if (archive_write_close(s.out) != ARCHIVE_OK || s.callback_error)
		return archive_failed(&s, s.out);
	return 0;
}
