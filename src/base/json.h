/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - small conveniences over jansson
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_err;

static inline void rb_json_decref(json_t **value)
{
	json_decref(*value);
}
#define _cleanup_json_ __attribute__((cleanup(rb_json_decref)))

/** rb_json_parse - text of @len bytes; duplicates refused. Return: 0, or -EPROTO with @err. */
int rb_json_parse(const char *text, size_t len, json_t **ret, struct rb_err *err);

/** rb_json_load - a file of at most 16 MiB */
int rb_json_load(const char *path, json_t **ret, struct rb_err *err);

/** rb_json_save - to a file in one step, see rb_write_file() */
int rb_json_save(const char *path, const json_t *value, bool sync, struct rb_err *err);

/** rb_json_text - @text as a value: messages quote names of files and lines of other programs,
 * which need not be UTF-8, and may be cut within a character; such bytes become '?'. NULL: no
 * memory */
json_t *rb_json_text(const char *text);

/** rb_json_str - member as text; @fallback (may be NULL) when absent or not a string */
const char *rb_json_str(const json_t *obj, const char *key, const char *fallback);

/** rb_json_int - member as integer, @fallback when absent or of another type */
int64_t rb_json_int(const json_t *obj, const char *key, int64_t fallback);

/** rb_json_bool - member as truth value, @fallback when absent or of another type */
bool rb_json_bool(const json_t *obj, const char *key, bool fallback);

/**
 * rb_json_peek_int - member of the outermost object as integer, @fallback when absent or of another
 * type, without a look at what follows
 * @text: valid JSON, of a program that is trusted to write such
 *
 * For what is at the head of long texts: to parse 50 KB takes 1.5 ms.
 */
int64_t rb_json_peek_int(const char *text, const char *key, int64_t fallback);

/** rb_json_path - follow "A.B.C" through objects; borrowed, NULL when a step is absent */
json_t *rb_json_path(const json_t *obj, const char *path);

/** rb_json_need_str - member that must be a non-empty string; -EPROTO and @err otherwise */
int rb_json_need_str(const json_t *obj, const char *key, const char **ret, struct rb_err *err);
