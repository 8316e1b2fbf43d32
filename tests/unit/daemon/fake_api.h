/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_api.h - an API server with operations that answer what they were given, and a client
 *
 * The server runs in a child of its own; libcurl talks to it over the unix socket `sock`.
 */
#pragma once

#include "api.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "tap.h"

static char dir[64], sock[96];

/* Make a folder for the sockets. Return: false if that failed. */
static bool make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/test_api.XXXXXX");
	snprintf(sock, sizeof(sock), "%s", "");
	return mkdtemp(dir) && chmod(dir, 0755) == 0 &&
	       rb_path(sock, sizeof(sock), "%s/api.sock", dir) == 0;
}

static struct rb_api *fake_api;
static struct rb_api_request *waiting; /* for op_node() */

static int op_migrate(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	(void)ctx;
	if (strcmp(rb_json_str(request, "container", ""), "gone") == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "no such container: gone");
	*ret = json_pack("{s:s, s:O}", "op", "migrate", "request", request);
	return 0;
}

static int op_list(void *ctx, json_t **ret, struct rb_err *err)
{
	(void)err;
	*ret = json_pack("[s]", (const char *)ctx);
	return 0;
}

static int op_inspect(void *ctx, const char *id, json_t **ret, struct rb_err *err)
{
	(void)ctx;
	if (strcmp(id, "waits") == 0 || strcmp(id, "waits-in-vain") == 0) {
		struct rb_api_request *handle = rb_api_later(fake_api);

		if (strcmp(id, "waits") != 0)
			return rb_err_code(err, RB_E_CONFLICT, -EBUSY, "did not wait");
		waiting = handle;
		return 0;
	}
	if (strcmp(id, "at-once") == 0) {
		rb_api_answer(rb_api_later(fake_api), json_pack("[s]", "at once"), NULL);
		return 0;
	}
	if (strcmp(id, "silent") == 0)
		return -ETIMEDOUT;
	if (strcmp(id, "nothing") == 0)
		return 0;
	if (strcmp(id, "binary") == 0)
		return rb_err_code(err, RB_E_CRIU, -EIO, "criu said \xff\xfe");
	*ret = json_pack("{s:s, s:s}", "op", "inspect", "id", id);
	return 0;
}

static int op_cancel(void *ctx, const char *id, struct rb_err *err)
{
	(void)ctx;
	if (strcmp(id, "late") != 0)
		return 0;
	snprintf(err->stage, sizeof(err->stage), "commit");
	return rb_err_code(err, RB_E_CONFLICT, -EBUSY, "it is too late to cancel");
}

static int op_resolve(void *ctx, const char *id, const char *decision, struct rb_err *err)
{
	(void)ctx;
	return rb_err_code(err, RB_E_IN_DOUBT, -EAGAIN, "%s %s", id, decision);
}

static int op_node(void *ctx, json_t **ret, struct rb_err *err)
{
	const char *who = !waiting ? "nobody" : rb_api_is_gone(waiting) ? "gone" : "here";

	(void)ctx;
	(void)err;
	if (waiting)
		rb_api_answer(waiting, json_pack("[s]", "was late"), NULL);
	waiting = NULL;
	*ret = json_pack("{s:s, s:s}", "name", "h1", "waited", who);
	return 0;
}

static int op_forwards(void *ctx, json_t **ret, struct rb_err *err)
{
	(void)ctx, (void)err;
	*ret = json_pack("[{s:s}]", "id", "f0");
	return 0;
}

static int op_forward_rm(void *ctx, const char *id, struct rb_err *err)
{
	struct rb_api_request *req;

	(void)ctx;
	if (strcmp(id, "f0") != 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "no forward '%s'", id);
	req = rb_api_later(fake_api);
	rb_api_answer(req, json_object(), NULL);
	return 0;
}

static int op_push(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	(void)ctx, (void)err;
	*ret = json_pack("{s:s, s:O}", "op", "push", "request", request);
	return 0;
}

static int op_pushes(void *ctx, json_t **ret, struct rb_err *err)
{
	(void)ctx, (void)err;
	*ret = json_pack("[s]", "pushes");
	return 0;
}

static int op_push_inspect(void *ctx, const char *id, json_t **ret, struct rb_err *err)
{
	(void)ctx, (void)err;
	*ret = json_pack("{s:s, s:s}", "op", "push_inspect", "id", id);
	return 0;
}

static int op_push_cancel(void *ctx, const char *id, struct rb_err *err)
{
	(void)ctx;
	return strcmp(id, "gone") == 0
		       ? rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "there is no push 'gone'")
		       : 0;
}

static int op_image_diff(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	(void)ctx, (void)err;
	*ret = json_pack("{s:s, s:O}", "op", "image_diff", "request", request);
	return 0;
}

static const struct rb_api_ops ops = {
	.migrate = op_migrate,
	.list = op_list,
	.inspect = op_inspect,
	.cancel = op_cancel,
	.resolve = op_resolve,
	.node = op_node,
	.forwards = op_forwards,
	.forward_rm = op_forward_rm,
	.push = op_push,
	.pushes = op_pushes,
	.push_inspect = op_push_inspect,
	.push_cancel = op_push_cancel,
	.image_diff = op_image_diff,
};

/* Serve until the other end of @stop_fd is closed. */
static void serve(int ready_fd, int stop_fd)
{
	struct rb_api *api = NULL;
	struct rb_err err = {};

	if (rb_api_start(sock, &ops, (void *)"context", &api, &err) < 0) {
		fprintf(stderr, "# %s\n", err.msg);
		_exit(1);
	}
	fake_api = api;
	rb_write_all(ready_fd, "r", 1);
	for (;;) {
		struct pollfd fds[] = { { rb_api_fd(api), POLLIN, 0 }, { stop_fd, POLLIN, 0 } };

		poll(fds, 2, rb_api_timeout_ms(api));
		if (fds[1].revents)
			break;
		rb_api_run(api);
	}
	rb_api_stop(api);
	_exit(0);
}

struct server {
	pid_t pid;
	int stop_fd;
};

static bool server_start(struct server *ret)
{
	int ready[2], stop[2];
	char c;

	if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(stop, O_CLOEXEC) < 0)
		return false;
	ret->pid = fork();
	if (ret->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(stop[1]);
		signal(SIGPIPE, SIG_IGN);
		serve(ready[1], stop[0]);
	}
	close(ready[1]);
	close(stop[0]);
	ret->stop_fd = stop[1];
	return rb_read_all(ready[0], &c, 1) == 1 && close(ready[0]) == 0;
}

static int server_stop(struct server *server)
{
	int status;

	rb_write_all(server->stop_fd, "s", 1);
	close(server->stop_fd);
	waitpid(server->pid, &status, 0);
	return status;
}

struct answer {
	long status;
	json_t *body;
	char allow[32];
};

static void answer_free(struct answer *answer)
{
	json_decref(answer->body);
}
#define _cleanup_answer_ __attribute__((cleanup(answer_free)))

static size_t collect(char *data, size_t size, size_t count, void *buf)
{
	return rb_buf_add(buf, data, size * count) < 0 ? 0 : size * count;
}

static size_t see_header(char *data, size_t size, size_t count, void *allow)
{
	sscanf(data, "Allow: %31[A-Z, ]", (char *)allow);
	return size * count;
}

static void ask_with(CURL *curl, const char *method, const char *path, const char *body,
		     struct answer *ret)
{
	_cleanup_buf_ struct rb_buf buf = {};
	char url[256];

	*ret = (struct answer){};
	snprintf(url, sizeof(url), "http://localhost%s", path);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, sock);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &buf);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, see_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, (void *)ret->allow);
	if (body)
		curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body);
	else
		curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
	if (buf.data)
		rb_json_parse(buf.data, buf.len, &ret->body, NULL);
}

static void ask(const char *method, const char *path, const char *body, struct answer *ret)
{
	CURL *curl = curl_easy_init();

	ask_with(curl, method, path, body, ret);
	curl_easy_cleanup(curl);
}

static inline const char *error_text(const struct answer *answer, const char *member)
{
	return rb_json_str(json_object_get(answer->body, "error"), member, "(none)");
}
