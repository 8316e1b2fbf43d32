// SPDX-License-Identifier: Apache-2.0
/*
 * plugin.c - Docker asks for addresses: libnetwork's remote IPAM protocol
 *
 * JSON over HTTP (libnetwork's docs/ipam.md). Docker finds us by the socket's name in its folder of
 * plugins, and asks for an address when a container is started, and gives it back when it stops,
 * with a network's own addresses when the network is made and removed. A request that finds nobody
 * is tried again for up to 15 s, in Docker's start once per network: so this should be there
 * before dockerd.
 *
 * The pool of a network is its id. What Docker has is in our journal, so it need not say it again
 * at its start ("RequiresRequestReplay"). What it failed to give back is found by the agent.
 */
#include "plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "ipam.h"
#include "json.h"
#include "log.h"
#include "networks.h"
#include "spec.h"

#define BODY_MAX_BYTES	((size_t)64 << 10)
#define CONNECTIONS_MAX 64u
#define IDLE_MAX_S	30u
#define CONTENT_TYPE	"application/vnd.docker.plugins.v1.1+json"

/* --- what Docker asks --- */

static json_t *with_prefix(const json_t *spec, uint32_t address)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	char text[RB_ADDRESS_TEXT];

	return json_pack("{s:s, s:{}}", "Address", rb_address_text(text, address, subnet.prefix),
			 "Data");
}

static int request_pool(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
			struct rb_err *err)
{
	const char *id = rb_json_str(json_object_get(body, "Options"), "network", "");
	_cleanup_json_ json_t *spec = NULL;
	int r;

	if (!*id)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "networks with addresses from reberth are made by 'reberth "
				   "network create'");
	r = rb_network_get(ipam->journal, id, &spec, err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:O, s:O, s:{}}", "PoolID", json_object_get(spec, "id"), "Pool",
			 json_object_get(spec, "subnet"), "Data");
	return 0;
}

static int request_address(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
			   struct rb_err *err)
{
	const char *wanted_text = rb_json_str(body, "Address", "");
	const char *kind = rb_json_str(json_object_get(body, "Options"), "RequestAddressType", "");
	_cleanup_json_ json_t *spec = NULL;
	uint32_t wanted = 0, address = 0;
	int r = rb_network_get(ipam->journal, rb_json_str(body, "PoolID", ""), &spec, err);

	if (r < 0)
		return r;
	if (*wanted_text && rb_address_parse(wanted_text, &wanted) < 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%.50s' is not an IPv4 address",
				   wanted_text);
	if (!wanted && strcmp(kind, "com.docker.network.gateway") == 0)
		wanted = rb_net_gateway(spec);
	r = rb_ipam_request(ipam, spec, wanted, &address, err);
	if (r >= 0)
		*ret = with_prefix(spec, address);
	return r;
}

static int release_address(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
			   struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL;
	uint32_t address = 0;
	int r = rb_network_get(ipam->journal, rb_json_str(body, "PoolID", ""), &spec, NULL);

	*ret = json_object();
	/* of a network that is gone nothing is left to release */
	if (r < 0 || rb_address_parse(rb_json_str(body, "Address", ""), &address) < 0)
		return 0;
	return rb_ipam_release(ipam, spec, address, err);
}

static int activate(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
		    struct rb_err *err)
{
	(void)ipam, (void)body, (void)err;
	*ret = json_pack("{s:[s]}", "Implements", "IpamDriver");
	return 0;
}

static int capabilities(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
			struct rb_err *err)
{
	(void)ipam, (void)body, (void)err;
	*ret = json_pack("{s:b, s:b}", "RequiresMACAddress", 0, "RequiresRequestReplay", 0);
	return 0;
}

static int address_spaces(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
			  struct rb_err *err)
{
	(void)ipam, (void)body, (void)err;
	*ret = json_pack("{s:s, s:s}", "LocalDefaultAddressSpace", "reberth",
			 "GlobalDefaultAddressSpace", "reberth");
	return 0;
}

static int release_pool(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
			struct rb_err *err)
{
	(void)ipam, (void)body, (void)err;
	*ret = json_object();
	return 0;
}

static const struct {
	const char *path;
	int (*answer)(const struct rb_ipam *ipam, const json_t *body, json_t **ret,
		      struct rb_err *err);
} requests[] = {
	{ "/Plugin.Activate", activate },
	{ "/IpamDriver.GetCapabilities", capabilities },
	{ "/IpamDriver.GetDefaultAddressSpaces", address_spaces },
	{ "/IpamDriver.RequestPool", request_pool },
	{ "/IpamDriver.ReleasePool", release_pool },
	{ "/IpamDriver.RequestAddress", request_address },
	{ "/IpamDriver.ReleaseAddress", release_address },
};

json_t *rb_plugin_answer(const struct rb_ipam *ipam, const char *path, const json_t *body)
{
	struct rb_err why = {};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		json_t *answer = NULL;

		if (strcmp(path, requests[i].path) != 0)
			continue;
		if (requests[i].answer(ipam, body, &answer, &why) >= 0 && answer)
			return answer;
		json_decref(answer);
		rb_warn("network: Docker's %s is refused: %s", path + 1, why.msg);
		return json_pack("{s:o}", "Error", rb_json_text(why.msg));
	}
	return NULL;
}

/* --- HTTP --- */

struct call {
	struct rb_buf body;
	bool too_large;
};

static enum MHD_Result send_text(struct MHD_Connection *conn, unsigned int status, char *text)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result sent;

	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
	sent = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return sent;
}

static enum MHD_Result finish(const struct rb_ipam *ipam, struct MHD_Connection *conn,
			      const char *path, const struct call *call)
{
	_cleanup_json_ json_t *body = NULL, *answer = NULL;
	struct rb_err why = {};
	char *text;

	if (call->too_large)
		answer = json_pack("{s:s}", "Error", "the request is too large");
	else if (call->body.len && rb_json_parse(call->body.data, call->body.len, &body, &why) < 0)
		answer = json_pack("{s:o}", "Error", rb_json_text(why.msg));
	else
		answer = rb_plugin_answer(ipam, path, body);
	text = answer ? json_dumps(answer, JSON_COMPACT) : strdup("{\"Err\":\"not known\"}");
	if (!text)
		return MHD_NO;
	return send_text(conn, answer ? MHD_HTTP_OK : MHD_HTTP_NOT_FOUND, text);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **slot)
{
	struct call *call = *slot;

	(void)method, (void)version;
	if (!call) {
		*slot = calloc(1, sizeof(*call));
		return *slot ? MHD_YES : MHD_NO;
	}
	if (*len == 0)
		return finish(cls, conn, url, call);
	if (call->body.len + *len > BODY_MAX_BYTES)
		call->too_large = true;
	if (!call->too_large && rb_buf_add(&call->body, data, *len) < 0)
		return MHD_NO;
	*len = 0;
	return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **slot,
			 enum MHD_RequestTerminationCode why)
{
	struct call *call = *slot;

	(void)cls, (void)conn, (void)why;
	if (call)
		rb_buf_free(&call->body);
	free(call);
	*slot = NULL;
}

static void loop(struct MHD_Daemon *mhd, int stop_fd)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD);
	struct pollfd fds[] = { { .fd = info ? info->epoll_fd : -1, .events = POLLIN },
				{ .fd = stop_fd, .events = POLLIN } };

	while (!fds[1].revents) {
		MHD_UNSIGNED_LONG_LONG ms = 1000;

		if (MHD_get_timeout(mhd, &ms) != MHD_YES || ms > 1000)
			ms = 1000;
		poll(fds, ARRAY_SIZE(fds), (int)ms);
		MHD_run(mhd);
	}
}

int rb_plugin_serve(const struct rb_ipam *ipam, const char *socket_path, int stop_fd,
		    struct rb_err *err)
{
	_cleanup_close_ int fd = rb_unix_listen(socket_path, 0600, err);
	struct MHD_Daemon *mhd;

	if (fd < 0)
		return fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	mhd = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, (void *)ipam,
			       MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
			       CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_MAX_S,
			       MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	if (!mhd)
		return rb_err_set(err, -EIO, "start the HTTP server on '%s'", socket_path);
	TAKE_FD(fd); /* closed by MHD_stop_daemon() */
	loop(mhd, stop_fd);
	MHD_stop_daemon(mhd);
	return 0;
}
