/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_docker.h - a Docker that has images, in a child process: they are listed, looked at, tagged,
 * removed and used by containers
 *
 * `docker save` of any image is the file "archive" in its folder. What else it has is in a file,
 * too, so that the test can look and change things between two calls:
 * {"info": {...}, "images": {ID: inspect...}, "in_use": [ID...], "broken": [beginning of a
 * path...], "calls": ["METHOD path"...]}
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"

static char fake_dir[] = "/tmp/fake_docker.XXXXXX";
static char fake_socket[64];
static pid_t fake_pid = -1;

static inline const char *fake_path(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", fake_dir, name);
	return path;
}

static inline json_t *fake_load(void)
{
	json_t *state = NULL;

	rb_json_load(fake_path("state"), &state, NULL);
	return state;
}

static inline void fake_save(const json_t *state)
{
	rb_json_save(fake_path("state"), state, false, NULL);
}

/* what is answered when all is written down */
static char fake_status[64];
static char *fake_body;
static struct rb_buf fake_archive; /* is answered instead when it is not empty */

static inline void fake_answer(const char *status, const char *body)
{
	snprintf(fake_status, sizeof(fake_status), "%s", status);
	free(fake_body);
	fake_body = strdup(body);
}

static inline void fake_send(int fd)
{
	const char *body = fake_archive.data ? fake_archive.data : fake_body;
	size_t len = fake_archive.data ? fake_archive.len : strlen(fake_body);
	char head[256];

	snprintf(head, sizeof(head),
		 "HTTP/1.1 %s\r\nApi-Version: 1.45\r\nContent-Length: %zu\r\n\r\n", fake_status,
		 len);
	send(fd, head, strlen(head), MSG_NOSIGNAL);
	rb_write_all(fd, body, len);
	rb_buf_free(&fake_archive);
}

static inline void fake_answer_json(json_t *value)
{
	_cleanup_free_ char *text = json_dumps(value, JSON_COMPACT);

	fake_answer("200 OK", text);
	json_decref(value);
}

/* %XX -> the byte, in place */
static inline void fake_unescape(char *text)
{
	char *out = text;

	for (; *text; text++, out++) {
		unsigned int byte;

		if (*text == '%' && sscanf(text + 1, "%2x", &byte) == 1) {
			*out = (char)byte;
			text += 2;
		} else {
			*out = *text;
		}
	}
	*out = '\0';
}

static inline bool fake_has(const json_t *array, const char *text)
{
	json_t *one;
	size_t i;

	json_array_foreach (array, i, one)
		if (strcmp(json_string_value(one), text) == 0)
			return true;
	return false;
}

/* by ID or tag */
static inline json_t *fake_find(json_t *state, const char *ref)
{
	json_t *images = json_object_get(state, "images"), *image = json_object_get(images, ref);
	const char *id;

	if (image)
		return image;
	json_object_foreach (images, id, image)
		if (fake_has(json_object_get(image, "RepoTags"), ref))
			return image;
	return NULL;
}

static inline json_t *fake_list(json_t *images)
{
	json_t *out = json_array(), *image;
	const char *id;

	json_object_foreach (images, id, image)
		json_array_append_new(out, json_pack("{s:s}", "Id", id));
	return out;
}

static inline void fake_tag(json_t *image, const char *query)
{
	char repo[256] = "", tag[256] = "", both[520];

	sscanf(query, "repo=%255[^&]&tag=%255s", repo, tag);
	snprintf(both, sizeof(both), "%s:%s", repo, tag);
	json_array_append_new(json_object_get(image, "RepoTags"), json_string(both));
}

/* as Docker: a tag goes alone while there are others; the last one takes the image along, unless a
 * container has it */
static inline void fake_remove(json_t *state, json_t *image, const char *ref)
{
	const char *id = rb_json_str(image, "Id", "");
	json_t *tags = json_object_get(image, "RepoTags"), *tag;
	size_t i, left = json_array_size(tags);
	bool used = fake_has(json_object_get(state, "in_use"), id);

	if (used && (strcmp(ref, id) == 0 || left < 2)) {
		fake_answer("409 Conflict", "{\"message\":\"image is in use\"}");
		return;
	}
	json_array_foreach (tags, i, tag)
		if (strcmp(json_string_value(tag), ref) == 0)
			break;
	json_array_remove(tags, i);
	if (strcmp(ref, id) == 0 || json_array_size(tags) == 0)
		json_object_del(json_object_get(state, "images"), id);
	fake_answer("200 OK", "[]");
}

static inline void fake_inspect(json_t *state, json_t *image)
{
	int64_t left = rb_json_int(state, "vanish", 0);

	fake_answer_json(json_incref(image));
	json_object_set_new(state, "vanish", json_integer(left - 1));
	if (left == 1)
		json_object_clear(json_object_get(state, "images"));
}

static inline void fake_image(json_t *state, const char *method, char *ref)
{
	char *query = strchr(ref, '?'), *verb;
	json_t *image;

	if (query)
		*query++ = '\0';
	verb = strcmp(method, "DELETE") == 0 ? NULL : strrchr(ref, '/');
	if (verb)
		*verb++ = '\0';
	image = fake_find(state, ref);
	if (!image)
		fake_answer("404 Not Found", "{\"message\":\"no such image\"}");
	else if (!verb)
		fake_remove(state, image, ref);
	else if (strcmp(verb, "get") == 0)
		fake_answer("200 OK", ""),
			rb_read_file(fake_path("archive"), 0, &fake_archive, NULL);
	else if (strcmp(verb, "tag") == 0 && query)
		fake_tag(image, query), fake_answer("201 Created", "");
	else
		fake_inspect(state, image);
}

static inline bool fake_is_broken(const json_t *state, const char *path)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(state, "broken"), i, one)
		if (strncmp(path, json_string_value(one), json_string_length(one)) == 0)
			return true;
	return false;
}

static inline void fake_serve(const char *method, char *path)
{
	_cleanup_json_ json_t *state = fake_load();
	char call[4200];

	snprintf(call, sizeof(call), "%s %s", method, path);
	json_array_append_new(json_object_get(state, "calls"), json_string(call));
	if (fake_is_broken(state, path))
		fake_answer("500 Internal Server Error", "{\"message\":\"it broke\"}");
	else if (strcmp(path, "/info") == 0)
		fake_answer_json(json_incref(json_object_get(state, "info")));
	else if (strncmp(path, "/images/json", 12) == 0)
		fake_answer_json(fake_list(json_object_get(state, "images")));
	else if (strncmp(path, "/containers/json", 16) == 0)
		fake_answer_json(json_incref(json_object_get(state, "in_use")));
	else if (strncmp(path, "/images/", 8) == 0)
		fake_image(state, method, path + 8);
	else
		fake_answer("404 Not Found", "{\"message\":\"page not found\"}");
	fake_save(state);
}

static inline void fake_connection(int fd)
{
	_cleanup_fclose_ FILE *in = fdopen(dup(fd), "r");
	char line[4096], method[16] = "", path[4096] = "";

	if (!in || !fgets(line, sizeof(line), in) || sscanf(line, "%15s %4095s", method, path) != 2)
		return;
	while (fgets(line, sizeof(line), in) && strcmp(line, "\r\n") != 0)
		;
	fake_unescape(path);
	if (strcmp(path, "/_ping") == 0)
		fake_answer("200 OK", "OK");
	else
		fake_serve(method, strchr(path + 1, '/'));
	fake_send(fd);
}

/* Return: the socket's path */
static inline const char *fake_start(void)
{
	_cleanup_json_ json_t *state = json_pack("{s:{s:[]}, s:{}, s:[], s:[], s:[]}", "info",
						 "DriverStatus", "images", "in_use", "broken",
						 "calls");
	int listener;

	if (!mkdtemp(fake_dir))
		return NULL;
	fake_save(state);
	rb_path(fake_socket, sizeof(fake_socket), "%s/sock", fake_dir);
	listener = rb_unix_listen(fake_socket, 0600, NULL);
	fake_pid = fork();
	if (fake_pid > 0) {
		close(listener);
		return fake_socket;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		_cleanup_close_ int fd = accept(listener, NULL, NULL);

		fake_connection(fd);
	}
}

static inline void fake_stop(void)
{
	kill(fake_pid, SIGKILL);
	waitpid(fake_pid, NULL, 0);
	rb_rm_rf(fake_dir, NULL);
}

/* --- what it has --- */

static inline void fake_set(const char *key, json_t *value)
{
	_cleanup_json_ json_t *state = fake_load();

	json_object_set_new(state, key, value);
	fake_save(state);
}

/* @image: inspect, but for its ID */
static inline void fake_add_image(const char *id, json_t *image)
{
	_cleanup_json_ json_t *state = fake_load();

	json_object_set_new(json_object_get(state, "images"), id, image);
	/* last: @id may be of the image itself */
	json_object_set_new(image, "Id", json_string(id));
	fake_save(state);
}

static inline void fake_clear(void)
{
	fake_set("images", json_object());
	fake_set("in_use", json_array());
	fake_set("broken", json_array());
	fake_set("calls", json_array());
}

static inline bool fake_has_image(const char *ref)
{
	_cleanup_json_ json_t *state = fake_load();

	return fake_find(state, ref) != NULL;
}

/* how often it was called so, or with a path that begins so */
static inline int fake_calls(const char *beginning)
{
	_cleanup_json_ json_t *state = fake_load();
	json_t *call;
	int n = 0;
	size_t i;

	json_array_foreach (json_object_get(state, "calls"), i, call)
		n += strncmp(json_string_value(call), beginning, strlen(beginning)) == 0;
	return n;
}
