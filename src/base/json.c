// SPDX-License-Identifier: Apache-2.0
/*
 * json.c - small conveniences over jansson
 */
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"

int rb_json_parse(const char *text, size_t len, json_t **ret, struct rb_err *err)
{
	json_error_t where;
	json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);

	if (!value)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "not valid JSON: %s (line %d)",
				   where.text, where.line);
	*ret = value;
	return 0;
}

int rb_json_load(const char *path, json_t **ret, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf buf = {};
	int r;

	r = rb_read_file(path, 0, &buf, err);
	if (r < 0)
		return r;
	r = rb_json_parse(buf.data, buf.len, ret, err);
	return r < 0 ? rb_err_wrap(err, r, "%s", path) : 0;
}

int rb_json_save(const char *path, const json_t *value, bool sync, struct rb_err *err)
{
	_cleanup_free_ char *text = json_dumps(value, JSON_INDENT(2));

	if (!text)
		return rb_err_set(err, -ENOMEM, "encode JSON for '%s'", path);
	return rb_write_file(path, text, strlen(text), 0600, sync, err);
}

json_t *rb_json_text(const char *text)
{
	_cleanup_free_ char *plain = NULL;
	json_t *value = json_string(text);

	if (value)
		return value;
	plain = strdup(text);
	if (!plain)
		return NULL;
	for (char *c = plain; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(plain);
}

const char *rb_json_str(const json_t *obj, const char *key, const char *fallback)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text ? text : fallback;
}

int64_t rb_json_int(const json_t *obj, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(obj, key);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

/* @at: the quote that begins it. Return: the quote that ends it, or the end of the text */
static const char *end_of_string(const char *at)
{
	for (at++; *at && *at != '"'; at++)
		if (*at == '\\' && at[1])
			at++;
	return at;
}

static int64_t peeked(const char *at, int64_t fallback)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(at, &end, 10);
	/* neither text, nor a fraction, nor too large */
	return end == at || strchr(".eE", *end) || errno ? fallback : value;
}

int64_t rb_json_peek_int(const char *text, const char *key, int64_t fallback)
{
	size_t len = strlen(key);
	int depth = 0;

	for (const char *at = text; *at; at++) {
		const char *begin = at;

		if (*at == '{' || *at == '[')
			depth++;
		if (*at == '}' || *at == ']')
			depth--;
		if (*at != '"')
			continue;
		at = end_of_string(at);
		if (!*at)
			break;
		if (depth != 1 || (size_t)(at - begin - 1) != len ||
		    strncmp(begin + 1, key, len) != 0)
			continue;
		at += 1 + strspn(at + 1, " \t\r\n");
		/* or else it was a value */
		if (*at == ':')
			return peeked(at + 1, fallback);
		at--;
	}
	return fallback;
}

bool rb_json_bool(const json_t *obj, const char *key, bool fallback)
{
	const json_t *value = json_object_get(obj, key);

	return json_is_boolean(value) ? json_is_true(value) : fallback;
}

json_t *rb_json_path(const json_t *obj, const char *path)
{
	const json_t *at = obj;
	char key[128];

	while (*path) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		at = json_object_get(at, key);
		if (!at)
			return NULL;
		path += len + (path[len] == '.');
	}
	return (json_t *)at;
}

int rb_json_need_str(const json_t *obj, const char *key, const char **ret, struct rb_err *err)
{
	const char *text = rb_json_str(obj, key, NULL);

	if (!text || !*text)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%s' is missing or not a text",
				   key);
	*ret = text;
	return 0;
}
