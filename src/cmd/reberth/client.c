// SPDX-License-Identifier: Apache-2.0
/*
 * client.c - requests to the local reberthd, by libcurl over its unix socket
 */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "output.h"

#define ANSWER_MAX_BYTES ((size_t)64 << 20)
#define ID_MAX		 64

struct client {
	CURL *curl; /* one for all requests: it keeps the connection */
	const char *socket;
};

struct client *client_new(const char *socket_path)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->socket = socket_path;
	client->curl = curl_easy_init();
	if (!client->curl) {
		free(client);
		return NULL;
	}
	return client;
}

void client_free(struct client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->curl);
	free(client);
}

static size_t collect(char *data, size_t size, size_t count, void *arg)
{
	struct rb_buf *buf = arg;

	if (buf->len + size * count > ANSWER_MAX_BYTES || rb_buf_add(buf, data, size * count) < 0)
		return 0;
	return size * count;
}

/* Why there was no answer at all. */
static int explain_silence(struct client *client, CURLcode code, struct rb_err *err)
{
	long os_errno = 0;

	curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT,
				   "reberthd took too long to answer on %s: look into its log",
				   client->socket);
	if (code == CURLE_COULDNT_CONNECT && (os_errno == EACCES || os_errno == EPERM))
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "you may not use %s: be root or a member of group reberth",
				   client->socket);
	if (code == CURLE_COULDNT_CONNECT)
		return rb_err_code(
			err, RB_E_PEER, -ECONNREFUSED,
			"reberthd is not running on this host (no answer on %s): start "
			"it as root with 'systemctl start reberthd' or 'reberthd --config "
			"/etc/reberth/reberth.json'",
			client->socket);
	if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "what answers on %s is not reberthd: give its socket with "
				   "--socket",
				   client->socket);
	return rb_err_code(err, RB_E_PEER, -ECONNRESET,
			   "reberthd went away while it was asked (%s): look into its log",
			   curl_easy_strerror(code));
}

static int perform(struct client *client, const char *method, const char *path, const char *body,
		   int64_t timeout_ms, struct rb_buf *ret_text, long *ret_status,
		   struct rb_err *err)
{
	CURL *curl = client->curl;
	char url[CLIENT_PATH_MAX + 32];
	CURLcode code;

	snprintf(url, sizeof(url), "http://reberthd%s", path);
	curl_easy_reset(curl); /* options only, not the connection */
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, (void *)ret_text);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (strcmp(method, "POST") == 0)
		curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body ? body : "");
	code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		return explain_silence(client, code, err);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
	return 0;
}

void client_error(const json_t *error, struct rb_err *err)
{
	enum rb_code code = rb_code_parse(rb_json_str(error, "code", ""));

	rb_err_clear(err);
	rb_err_code(err, code == RB_OK ? RB_E_INTERNAL : code, -(int)rb_json_int(error, "errno", 0),
		    "%s", rb_json_str(error, "message", "reberthd does not say why"));
	snprintf(err->stage, sizeof(err->stage), "%s", rb_json_str(error, "stage", ""));
	out_clean(err->msg);
	out_clean(err->stage);
}

int client_request(struct client *client, const char *method, const char *path, const json_t *body,
		   int64_t timeout_ms, json_t **ret, struct rb_err *err)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	_cleanup_json_ json_t *value = NULL;
	_cleanup_buf_ struct rb_buf answer = {};
	const json_t *error;
	long status = 0;
	int r;

	if (body && !text)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "an argument is not text in UTF-8: correct it");
	r = perform(client, method, path, text, timeout_ms, &answer, &status, err);
	if (r < 0)
		return r;
	if (!answer.data || rb_json_parse(answer.data, answer.len, &value, NULL) < 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "what answers on %s is not reberthd (status %ld, no JSON): give "
				   "its socket with --socket",
				   client->socket, status);
	error = json_object_get(value, "error");
	if (status >= 400) {
		client_error(error, err);
		return err && err->errnum > 0 ? -err->errnum : -EIO;
	}
	*ret = TAKE_PTR(value);
	return 0;
}

int client_forward_path(char ret[CLIENT_PATH_MAX], const char *id, struct rb_err *err)
{
	if (!*id || strlen(id) > ID_MAX || strspn(id, "0123456789abcdef") != strlen(id))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "'%.100s' cannot be the ID of a forward", id);
	snprintf(ret, CLIENT_PATH_MAX, "/v1/forwards/%s", id);
	return 0;
}

static bool is_id(const char *id)
{
	size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"0123456789_-");

	return len > 0 && len <= ID_MAX && !id[len];
}

int client_migration_path(char ret[CLIENT_PATH_MAX], const char *id, const char *suffix,
			  struct rb_err *err)
{
	if (!is_id(id))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%.100s' cannot be the ID of a migration: 'reberth migration "
				   "ls -a' shows them",
				   id);
	snprintf(ret, CLIENT_PATH_MAX, "/v1/migrations/%s%s", id, suffix);
	return 0;
}

int client_push_path(char ret[CLIENT_PATH_MAX], const char *id, const char *suffix,
		     struct rb_err *err)
{
	if (!is_id(id))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%.100s' cannot be the ID of a push: 'reberth image pushes' "
				   "shows them",
				   id);
	snprintf(ret, CLIENT_PATH_MAX, "/v1/pushes/%s%s", id, suffix);
	return 0;
}

int client_network_path(char ret[CLIENT_PATH_MAX], const char *name, const char *suffix,
			struct rb_err *err)
{
	if (!is_id(name))
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "reberth has no network '%.100s': see 'reberth network ls'",
				   name);
	snprintf(ret, CLIENT_PATH_MAX, "/v1/networks/%s%s", name, suffix);
	return 0;
}
