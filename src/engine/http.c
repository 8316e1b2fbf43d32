// SPDX-License-Identifier: Apache-2.0
/*
 * http.c - requests to Docker's unix socket
 *
 * One request is one transfer on one fresh connection: a unix socket costs nothing to open, and a
 * kept one may turn out dead in the middle of a request that must not be repeated.
 *
 * The API version is negotiated by the first request: /_ping answers without a version and tells
 * the engine's own, which is used up to API_MINOR_MAX, the last one whose sources were compared
 * with what we send (1.41 is Docker 20.10, 1.51 is Docker 28.5).
 */
#include "engine.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "transfer.h"
#include "wait.h"

#define API_MINOR_MIN  41
#define API_MINOR_MAX  51
#define READY_PAUSE_MS 100

struct rb_engine {
	char *socket_path;
	int api_minor; /* 0 until negotiated */
};

struct rb_engine_stream {
	struct rb_transfer transfer;
	char *path;
};

/* --- the handle --- */

int rb_engine_open(const char *socket_path, struct rb_engine **ret, struct rb_err *err)
{
	struct rb_engine *engine;

	if (strlen(socket_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return rb_err_set(err, -ENAMETOOLONG, "Docker's socket '%s'", socket_path);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return rb_err_set(err, -ENOMEM, "prepare libcurl");
	engine = calloc(1, sizeof(*engine));
	if (engine)
		engine->socket_path = strdup(socket_path);
	if (!engine || !engine->socket_path) {
		rb_engine_close(engine);
		return rb_err_set(err, -ENOMEM, "prepare for Docker at '%s'", socket_path);
	}
	*ret = engine;
	return 0;
}

void rb_engine_close(struct rb_engine *engine)
{
	if (!engine)
		return;
	free(engine->socket_path);
	free(engine);
}

/* --- negotiation --- */

static int ping(struct rb_engine *engine, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_transfer_ struct rb_transfer t = {};
	int r;

	r = rb_transfer_init(&t, engine->socket_path, "GET", 0, "/_ping", err);
	if (r == 0)
		r = rb_transfer_run(&t, wait, err);
	if (r < 0)
		return r;
	if (t.api_minor < API_MINOR_MIN)
		return rb_err_code(err, RB_E_ENGINE, -EOPNOTSUPP,
				   "Docker at '%s' is too old: 20.10 (API 1.%d) or newer is needed",
				   engine->socket_path, API_MINOR_MIN);
	engine->api_minor = t.api_minor < API_MINOR_MAX ? t.api_minor : API_MINOR_MAX;
	return 0;
}

int rb_engine_api(struct rb_engine *engine, const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	rb_err_clear(err);
	if (engine->api_minor == 0)
		r = ping(engine, wait, err);
	return r < 0 ? r : engine->api_minor;
}

int rb_engine_wait_ready(struct rb_engine *engine, const struct rb_wait *wait, struct rb_err *err)
{
	for (;;) {
		int r, slept;

		engine->api_minor = 0; /* it may have been replaced by another version */
		rb_err_clear(err);
		r = ping(engine, wait, err);
		if (r == 0 || r == -ECANCELED || r == -ETIMEDOUT || r == -EOPNOTSUPP)
			return r;
		/* nothing tells that dockerd listens again: the socket's file may be replaced */
		slept = rb_wait_ms(READY_PAUSE_MS, wait, NULL);
		if (slept == -ECANCELED)
			return rb_err_code(err, RB_E_CANCELED, slept, "cancelled");
		if (slept < 0) {
			if (err)
				err->code = RB_E_TIMEOUT;
			return rb_err_wrap(err, slept, "Docker did not become ready in time");
		}
	}
}

/* negotiate, then prepare a request behind the version */
static int prepare(struct rb_transfer *t, struct rb_engine *engine, const char *method,
		   const char *path, const struct rb_wait *wait, struct rb_err *err)
{
	int api = rb_engine_api(engine, wait, err);

	if (api < 0)
		return api;
	return rb_transfer_init(t, engine->socket_path, method, api, path, err);
}

/* --- requests --- */

int rb_engine_call(struct rb_engine *engine, const char *method, const char *path,
		   const json_t *body, json_t **ret, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *text = NULL; /* used by the transfer until it is freed */
	_cleanup_transfer_ struct rb_transfer t = {};
	int r;

	r = prepare(&t, engine, method, path, wait, err);
	if (r < 0)
		return r;
	if (body) {
		text = json_dumps(body, JSON_COMPACT);
		if (!text || rb_transfer_header(&t, "Content-Type: application/json") < 0)
			return rb_err_set(err, -ENOMEM, "encode a request to Docker");
		curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, text);
		curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
	} else if (strcmp(method, "POST") == 0) {
		curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, "");
	}
	curl_easy_setopt(t.easy, CURLOPT_CUSTOMREQUEST, method);
	r = rb_transfer_run(&t, wait, err);
	if (r < 0 || !ret)
		return r;
	if (t.body.len == 0) {
		*ret = json_object();
		return *ret ? 0 : rb_err_set(err, -ENOMEM, "%s %s", method, path);
	}
	r = rb_json_parse(t.body.data, t.body.len, ret, err);
	return r < 0 ? rb_err_wrap(err, r, "Docker's answer to %s %s", method, path) : 0;
}

int rb_engine_escape(const char *text, char *ret, size_t size)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";
	size_t used = 0;

	for (; *text; text++) {
		bool keep = strchr(plain, *text) != NULL;

		if (used + (keep ? 1 : 3) >= size)
			return -ENAMETOOLONG;
		if (keep)
			ret[used++] = *text;
		else
			used += (size_t)snprintf(ret + used, 4, "%%%02X", (unsigned char)*text);
	}
	if (used >= size)
		return -ENAMETOOLONG;
	ret[used] = '\0';
	return 0;
}

int rb_engine_stream_open(struct rb_engine *engine, const char *path, const struct rb_wait *wait,
			  struct rb_engine_stream **ret, struct rb_err *err)
{
	struct rb_engine_stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (stream)
		stream->path = strdup(path);
	if (!stream || !stream->path) {
		rb_engine_stream_close(stream);
		return rb_err_set(err, -ENOMEM, "GET %s", path);
	}
	r = prepare(&stream->transfer, engine, "GET", stream->path, wait, err);
	if (r < 0) {
		rb_engine_stream_close(stream);
		return r;
	}
	*ret = stream;
	return 0;
}

ssize_t rb_engine_stream_read(struct rb_engine_stream *stream, const void **ret_block,
			      const struct rb_wait *wait, struct rb_err *err)
{
	return rb_transfer_fetch(&stream->transfer, ret_block, wait, err);
}

void rb_engine_stream_close(struct rb_engine_stream *stream)
{
	if (!stream)
		return;
	rb_transfer_free(&stream->transfer);
	free(stream->path);
	free(stream);
}

int rb_engine_download(struct rb_engine *engine, const char *path, rb_engine_sink sink, void *arg,
		       const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_transfer_ struct rb_transfer t = {};
	const void *block;
	ssize_t n;
	int r;

	r = prepare(&t, engine, "GET", path, wait, err);
	if (r < 0)
		return r;
	while ((n = rb_transfer_fetch(&t, &block, wait, err)) > 0) {
		r = sink(arg, block, (size_t)n);
		if (r == 0)
			continue;
		r = r < 0 ? r : -r;
		if (err && err->code == RB_OK)
			rb_err_set(err, r, "GET %s", path);
		return r;
	}
	return (int)n;
}

int rb_engine_upload(struct rb_engine *engine, const char *path, const char *content_type,
		     rb_engine_feed feed, void *arg, char **ret_text, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_transfer_ struct rb_transfer t = {};
	char type[128];
	int r;

	r = prepare(&t, engine, "POST", path, wait, err);
	if (r < 0)
		return r;
	t.feed = feed;
	t.feed_arg = arg;
	r = rb_path(type, sizeof(type), "Content-Type: %s", content_type);
	if (r < 0 || rb_transfer_header(&t, type) < 0 ||
	    rb_transfer_header(&t, "Transfer-Encoding: chunked") < 0)
		return rb_err_set(err, r < 0 ? r : -ENOMEM, "prepare an upload to Docker");
	curl_easy_setopt(t.easy, CURLOPT_POST, 1L);
	r = rb_transfer_run(&t, wait, err);
	if (r < 0 || !ret_text)
		return r;
	*ret_text = t.body.data ? t.body.data : strdup("");
	t.body = (struct rb_buf){};
	return *ret_text ? 0 : rb_err_set(err, -ENOMEM, "POST %s", path);
}
