// SPDX-License-Identifier: Apache-2.0
/*
 * api.c - the local HTTP API of reberthd on a unix socket
 *
 * Who may come in is decided twice: by the mode of the socket (0660, group "reberth" if it exists),
 * and by the credentials of whoever connected, which also hold when somebody changed the mode or
 * passed a descriptor on. A request goes through here as follows:
 *
 *   request_begin()   first call by libmicrohttpd, headers only: caller allowed? route known? body
 *                     short enough? What is wrong here is answered before any body is read
 *   request_body()    any number of times: collect the body, or drop what is above the limit
 *   request_finish()  parse the body, call the route's handler, answer; or suspend the connection
 *                     until rb_api_answer(), after which this is called again
 *
 * Everything a caller can size is limited: body, connections, idle time, headers (a pool of fixed
 * size in libmicrohttpd). Errors are {"error":{"code","errno","stage","message"}}.
 */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api_check.h"
#include "api_routes.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"

#define BODY_MAX_BYTES	  ((size_t)1 << 20)
#define CONNECTIONS_MAX	  64u
#define IDLE_MAX_S	  30u
#define HEADERS_MAX_BYTES ((size_t)32 << 10)
#define GROUP_NAME	  "reberth"

struct rb_api {
	struct MHD_Daemon *mhd;
	const struct rb_api_ops *ops;
	void *ctx;
	char *path;
	dev_t dev; /* of the socket, to tell it from the one of a later daemon */
	ino_t ino;
	gid_t gid; /* (gid_t)-1: no such group */
	int epoll_fd;
	struct rb_api_request *current; /* whose operation runs now */
	struct rb_api_request *suspended;
};

struct rb_api_request {
	const struct rb_api_route *route;
	char id[RB_API_ID_MAX + 1];
	struct rb_buf body;
	bool too_large;

	/* an answer that is given later, see rb_api_later() */
	struct rb_api_request *next; /* in api->suspended */
	struct rb_api *api;
	struct MHD_Connection *conn;
	bool later, suspended, answered;
	unsigned int status;
	json_t *value;
	struct rb_err err;
};

static enum MHD_Result send_json(struct MHD_Connection *conn, unsigned int status,
				 const json_t *value, const char *allowed)
{
	char *text = json_dumps(value, JSON_COMPACT);
	struct MHD_Response *response;
	enum MHD_Result sent;

	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (allowed)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed);
	sent = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return sent;
}

static enum MHD_Result send_error(struct MHD_Connection *conn, unsigned int status,
				  const struct rb_err *err, const char *allowed)
{
	_cleanup_json_ json_t *value = rb_api_error_json(err);

	return value ? send_json(conn, status, value, allowed) : MHD_NO;
}

/* May whoever holds the other end of the connection talk to us? */
static bool peer_allowed(const struct rb_api *api, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info && rb_api_peer_allowed(info->connect_fd, api->gid);
}

static bool announces_too_much(struct MHD_Connection *conn)
{
	const char *text =
		MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return text && strtoull(text, NULL, 10) > BODY_MAX_BYTES;
}

static enum MHD_Result answer_too_large(struct MHD_Connection *conn)
{
	struct rb_err err = {};

	rb_err_code(&err, RB_E_USAGE, -EMSGSIZE, "the request is larger than %zu bytes",
		    BODY_MAX_BYTES);
	return send_error(conn, MHD_HTTP_CONTENT_TOO_LARGE, &err, NULL);
}

static enum MHD_Result request_begin(struct rb_api *api, struct MHD_Connection *conn,
				     const char *url, const char *method, void **ret_req)
{
	char id[RB_API_ID_MAX + 1] = "";
	const struct rb_api_route *route;
	char allowed[RB_API_ALLOWED_MAX];
	struct rb_err err = {};
	struct rb_api_request *req;

	if (!peer_allowed(api, conn)) {
		rb_err_code(&err, RB_E_DENIED, -EACCES,
			    "only root and members of the group " GROUP_NAME " may use reberthd");
		return send_error(conn, rb_code_http(err.code), &err, NULL);
	}
	route = rb_api_route(method, url, id, allowed);
	if (!route && *allowed) {
		rb_err_code(&err, RB_E_USAGE, -EINVAL, "%s is not possible here, only %s", method,
			    allowed);
		return send_error(conn, MHD_HTTP_METHOD_NOT_ALLOWED, &err, allowed);
	}
	if (!route) {
		rb_err_code(&err, RB_E_NOT_FOUND, -ENOENT, "reberthd has nothing at '%.200s'", url);
		return send_error(conn, MHD_HTTP_NOT_FOUND, &err, NULL);
	}
	if (announces_too_much(conn))
		return answer_too_large(conn);

	req = calloc(1, sizeof(*req));
	if (!req)
		return MHD_NO;
	req->route = route;
	req->api = api;
	req->conn = conn;
	req->status = route->status;
	memcpy(req->id, id, sizeof(id));
	*ret_req = req;
	return MHD_YES;
}

static enum MHD_Result request_body(struct rb_api_request *req, const char *data, size_t *len)
{
	/* No answer may be sent before the body has ended, so the rest is read and dropped. */
	if (req->body.len + *len > BODY_MAX_BYTES) {
		rb_buf_free(&req->body);
		req->too_large = true;
	}
	if (!req->too_large && rb_buf_add(&req->body, data, *len) < 0)
		return MHD_NO;
	*len = 0;
	return MHD_YES;
}

/* Call the route's operation. Return: whether there is an answer now. */
static bool request_handle(struct rb_api *api, struct rb_api_request *req)
{
	struct rb_api_call call = { api->ops, api->ctx, req->id, NULL, req->status };
	_cleanup_json_ json_t *body = NULL, *value = NULL;
	int r = 0;

	if (req->body.len)
		r = rb_api_parse_body(req->body.data, req->body.len, &body, &req->err);
	if (r == 0) {
		call.body = body;
		api->current = req;
		r = req->route->handle(&call, &value, &req->err);
		api->current = NULL;
		req->status = call.status;
	}
	if (req->answered || (r >= 0 && req->later))
		return req->answered;
	if (r >= 0 && !value)
		r = rb_err_code(&req->err, RB_E_INTERNAL, -ENOMEM,
				"reberthd has no answer to that");
	if (r >= 0)
		req->value = TAKE_PTR(value);
	else if (req->err.code == RB_OK)
		rb_err_set(&req->err, r, "%s %s", req->route->method, req->route->path);
	return true;
}

static enum MHD_Result request_finish(struct rb_api *api, struct MHD_Connection *conn,
				      struct rb_api_request *req)
{
	if (req->too_large)
		return answer_too_large(conn);
	if (!req->answered && !request_handle(api, req)) {
		MHD_suspend_connection(conn);
		req->suspended = true;
		req->next = api->suspended;
		api->suspended = req;
		return MHD_YES;
	}
	if (!req->value)
		return send_error(conn, rb_code_http(req->err.code), &req->err, NULL);
	return send_json(conn, req->status, req->value, NULL);
}

struct rb_api_request *rb_api_later(struct rb_api *api)
{
	if (api->current)
		api->current->later = true;
	return api->current;
}

/* libmicrohttpd does not look at connections that are suspended */
bool rb_api_is_gone(const struct rb_api_request *req)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(req->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd fd = { .fd = info ? info->connect_fd : -1 };

	return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR));
}

void rb_api_answer(struct rb_api_request *req, json_t *value, const struct rb_err *err)
{
	struct rb_api_request **at = &req->api->suspended;

	req->answered = true;
	req->value = value;
	if (!value && err)
		req->err = *err;
	if (!value && req->err.code == RB_OK)
		rb_err_code(&req->err, RB_E_INTERNAL, -ENOMEM, "reberthd has no answer to that");
	if (!req->suspended)
		return;
	while (*at != req)
		at = &(*at)->next;
	*at = req->next;
	req->suspended = false;
	MHD_resume_connection(req->conn);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **req)
{
	(void)version;
	if (!*req)
		return request_begin(cls, conn, url, method, req);
	if (*len)
		return request_body(*req, data, len);
	return request_finish(cls, conn, *req);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **slot,
			 enum MHD_RequestTerminationCode why)
{
	struct rb_api_request *req = *slot;

	(void)cls;
	(void)conn;
	(void)why;
	if (!req)
		return;
	rb_buf_free(&req->body);
	json_decref(req->value);
	free(req);
	*slot = NULL;
}

/* Listen at api->path, readable and writable for root and the group only. */
static int listen_socket(struct rb_api *api, struct rb_err *err)
{
	_cleanup_close_ int fd = rb_unix_listen(api->path, 0660, err);
	const struct group *group = getgrnam(GROUP_NAME);
	struct stat st;

	if (fd < 0)
		return fd;
	api->gid = group ? group->gr_gid : (gid_t)-1;
	if (group && chown(api->path, (uid_t)-1, api->gid) < 0)
		return rb_err_set(err, -errno, "give '%s' to the group " GROUP_NAME, api->path);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || stat(api->path, &st) < 0)
		return rb_err_set(err, -errno, "listen on '%s'", api->path);
	api->dev = st.st_dev;
	api->ino = st.st_ino;
	return TAKE_FD(fd);
}

static void free_api(struct rb_api **api)
{
	if (*api)
		free((*api)->path);
	free(*api);
}

int rb_api_start(const char *socket_path, const struct rb_api_ops *ops, void *ctx,
		 struct rb_api **ret, struct rb_err *err)
{
	_cleanup_(free_api) struct rb_api *api = calloc(1, sizeof(*api));
	const union MHD_DaemonInfo *info;
	_cleanup_close_ int fd = -EBADF;

	if (api)
		api->path = strdup(socket_path);
	if (!api || !api->path)
		return rb_err_set(err, -ENOMEM, "start the API");
	api->ops = ops;
	api->ctx = ctx;
	fd = listen_socket(api, err);
	if (fd < 0)
		return fd;
	api->mhd = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, api,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_MAX_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		HEADERS_MAX_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	if (!api->mhd)
		return rb_err_set(err, -EIO, "start the HTTP server on '%s'", socket_path);
	TAKE_FD(fd); /* closed by MHD_stop_daemon() */
	info = MHD_get_daemon_info(api->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0) {
		MHD_stop_daemon(api->mhd);
		return rb_err_set(err, -EOPNOTSUPP, "libmicrohttpd has no epoll");
	}
	api->epoll_fd = info->epoll_fd;
	*ret = TAKE_PTR(api);
	return 0;
}

void rb_api_stop(struct rb_api *api)
{
	struct rb_err err = {};
	struct stat st;

	if (!api)
		return;
	/* libmicrohttpd must not be stopped while connections are suspended */
	rb_err_code(&err, RB_E_CANCELED, -ECANCELED, "reberthd stops");
	while (api->suspended)
		rb_api_answer(api->suspended, NULL, &err);
	MHD_run(api->mhd);
	MHD_stop_daemon(api->mhd);
	if (stat(api->path, &st) == 0 && st.st_dev == api->dev && st.st_ino == api->ino)
		unlink(api->path);
	free_api(&api);
}

int rb_api_fd(const struct rb_api *api)
{
	return api->epoll_fd;
}

int rb_api_timeout_ms(const struct rb_api *api)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(api->mhd, &ms) != MHD_YES)
		return -1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

static unsigned int connections(const struct rb_api *api)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(api->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info ? info->num_connections : 0;
}

/*
 * At the limit of connections (or of descriptors) libmicrohttpd stops to listen, and it only looks
 * at the beginning of a run whether it may go on. The run that closed some is followed by another,
 * or those who wait would wait until something else happens.
 */
void rb_api_run(struct rb_api *api)
{
	unsigned int before = connections(api);

	MHD_run(api->mhd);
	if (connections(api) < before)
		MHD_run(api->mhd);
}
