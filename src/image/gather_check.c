// SPDX-License-Identifier: Apache-2.0
/*
 * gather_check.c - digests of what was put together, and the archive as Docker reads it
 *
 * Digests are made of what is in the file, not of what was meant to be written to it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "gather_internal.h"
#include "spool.h"

#define READ_SIZE  ((size_t)256 << 10)
#define GIVE_EVERY ((uint64_t)4 << 20)

struct check {
	struct rb_gather *gather;
	struct rb_digest *digest;
	uint8_t *buf;
	unsigned int object; /* the one under way */
	uint64_t offset;
};

/* Return: bytes of the object under way that are in place and not checked yet; 0 when it is wholly
 * checked; -1: there is no more to check */
static int64_t wait_for_bytes(struct check *check)
{
	struct rb_gather *gather = check->gather;
	int64_t bytes = -1;

	pthread_mutex_lock(&gather->lock);
	while (!gather->stopped) {
		bool whole = gather->mark_object > check->object;

		if (whole || gather->mark_object == check->object) {
			uint64_t end = whole ? gather->objects[check->object].size
					     : gather->mark_offset;

			bytes = (int64_t)(end - check->offset);
			if (bytes > 0 || whole)
				break;
		}
		bytes = -1;
		if (gather->ended && check->object >= gather->objects_count)
			break;
		pthread_cond_wait(&gather->changed, &gather->lock);
	}
	if (gather->stopped)
		bytes = -1;
	pthread_mutex_unlock(&gather->lock);
	return bytes;
}

static bool is_a_layer(const struct rb_gather *gather, const uint8_t *digest)
{
	char text[sizeof("sha256:") + RB_DIGEST_DIGITS] = "sha256:";
	const json_t *layer;
	size_t i;

	rb_hex_encode(digest, text + strlen(text));
	json_array_foreach (gather->options.layers, i, layer)
		if (json_is_string(layer) && strcmp(json_string_value(layer), text) == 0)
			return true;
	return false;
}

static int finish_object(struct check *check, struct rb_err *err)
{
	struct rb_gather_object *object = &check->gather->objects[check->object];
	uint8_t digest[RB_DIGEST_BYTES];
	bool right;

	if (!rb_digest_end(check->digest, digest) || !rb_digest_start(check->digest))
		return rb_err_code(err, RB_E_INTERNAL, -EIO, "OpenSSL refuses SHA-256");
	if (object->form == RB_OBJECT_BLOB)
		right = memcmp(digest, object->key, RB_DIGEST_BYTES) == 0;
	else
		right = is_a_layer(check->gather, digest);
	object->verdict = right ? RB_RIGHT : RB_WRONG;
	check->object++;
	check->offset = 0;
	return 0;
}

static int check_bytes(struct check *check, int64_t bytes, struct rb_err *err)
{
	const struct rb_gather_object *object = &check->gather->objects[check->object];
	size_t len = bytes < (int64_t)READ_SIZE ? (size_t)bytes : READ_SIZE;
	ssize_t n = pread(object->fd, check->buf, len, (off_t)check->offset);

	if (n <= 0)
		return rb_err_set(err, n < 0 ? -errno : -EIO, "read '%s'",
				  check->gather->options.spool->path);
	check->offset += (uint64_t)n;
	if (!rb_digest_add(check->digest, check->buf, (size_t)n))
		return rb_err_code(err, RB_E_INTERNAL, -EIO, "OpenSSL refuses SHA-256");
	return 0;
}

static int check_all(struct check *check, struct rb_err *err)
{
	int64_t bytes;
	int r = 0;

	while (r == 0 && (bytes = wait_for_bytes(check)) >= 0)
		r = bytes ? check_bytes(check, bytes, err) : finish_object(check, err);
	return r;
}

int rb_gather_check(struct rb_gather *gather, struct rb_err *err)
{
	struct check check = { .gather = gather };
	int r;

	if (!gather->options.spool)
		return 0;
	check.digest = rb_digest_new();
	check.buf = malloc(READ_SIZE);
	if (check.digest && check.buf && rb_digest_start(check.digest))
		r = check_all(&check, err);
	else
		r = rb_err_set(err, -ENOMEM, "check an image");
	rb_digest_free(check.digest);
	free(check.buf);
	return r;
}

unsigned int rb_gather_wrong(const struct rb_gather *gather, uint8_t (**ret)[RB_DIGEST_BYTES])
{
	uint8_t(*keys)[RB_DIGEST_BYTES] = NULL;
	unsigned int wrong = 0;

	for (unsigned int i = 0; gather->options.spool && i < gather->objects_count; i++) {
		if (gather->objects[i].verdict == RB_RIGHT)
			continue;
		if (!keys && ret)
			keys = calloc(gather->objects_count, sizeof(*keys));
		if (keys)
			memcpy(keys[wrong], gather->objects[i].key, RB_DIGEST_BYTES);
		wrong++;
	}
	if (ret)
		*ret = keys;
	return wrong;
}

ssize_t rb_gather_read(struct rb_gather *gather, void *buf, size_t size)
{
	while (gather->read_part < gather->parts_count) {
		int object = gather->parts[gather->read_part].object;
		uint64_t left = gather->parts[gather->read_part].len - gather->read_offset;
		uint64_t at = object < 0 ? gather->read_around : gather->read_offset;
		int fd = object < 0 ? gather->around_fd : gather->objects[object].fd;
		ssize_t n;

		if (left == 0) {
			gather->read_part++;
			gather->read_offset = 0;
			continue;
		}
		n = pread(fd, buf, size < left ? size : (size_t)left, (off_t)at);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		gather->read_offset += (uint64_t)n;
		gather->read_around += object < 0 ? (uint64_t)n : 0;
		return n;
	}
	return 0;
}

uint64_t rb_gather_skip(struct rb_gather *gather, uint64_t bytes)
{
	uint64_t skipped = 0;

	while (skipped < bytes && gather->read_part < gather->parts_count) {
		bool around = gather->parts[gather->read_part].object < 0;
		uint64_t left = gather->parts[gather->read_part].len - gather->read_offset;
		uint64_t part = left < bytes - skipped ? left : bytes - skipped;

		skipped += part;
		gather->read_offset += part;
		gather->read_around += around ? part : 0;
		if (part == left) {
			gather->read_part++;
			gather->read_offset = 0;
		}
	}
	return skipped;
}

void rb_gather_give(struct rb_gather *gather)
{
	gather->gives = true;
}

int rb_gather_object(const struct rb_gather *gather, enum rb_object_form form,
		     const uint8_t key[RB_DIGEST_BYTES], uint64_t *ret_size)
{
	for (unsigned int i = 0; i < gather->objects_count; i++) {
		const struct rb_gather_object *object = &gather->objects[i];

		if (object->form != form || object->verdict != RB_RIGHT ||
		    memcmp(object->key, key, RB_DIGEST_BYTES) != 0)
			continue;
		*ret_size = object->size;
		return (int)i;
	}
	return -ENOENT;
}

ssize_t rb_gather_pread(struct rb_gather *gather, int object, void *buf, size_t size,
			uint64_t offset)
{
	int fd = gather->objects[object].fd;
	ssize_t n = pread(fd, buf, size, (off_t)offset);
	uint64_t end = offset + (n > 0 ? (uint64_t)n : 0);

	if (n < 0)
		return -errno;
	if (gather->gives &&
	    (end / GIVE_EVERY != offset / GIVE_EVERY || end == gather->objects[object].size))
		rb_spool_give(fd, end);
	return n;
}

void rb_gather_forget(struct rb_gather *gather)
{
	for (unsigned int i = 0; gather->options.spool && i < gather->objects_count; i++)
		rb_spool_forget(gather->options.spool, gather->objects[i].key,
				gather->objects[i].fd);
}
