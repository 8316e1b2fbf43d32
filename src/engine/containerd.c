// SPDX-License-Identifier: Apache-2.0
/*
 * containerd.c - one question to containerd
 *
 * Where Docker keeps images in containerd's store, `docker inspect` does not say where a
 * container's writable layer is. containerd does: Mounts of its service Snapshots has the options
 * that the container's overlay is to be mounted with, and so its upper folder, whether it is
 * mounted or not.
 *
 * A call of gRPC is a POST of HTTP/2 whose body is a message (containerd.h). The outcome is in the
 * trailers grpc-status and grpc-message, which libcurl hands over as it does headers.
 */
#include "containerd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "snapshots.pb-c.h"
#include "transfer.h"

#define MOUNTS_PATH    "/containerd.services.snapshots.v1.Snapshots/Mounts"
#define FRAME_SIZE     5
#define GRPC_OK	       0
#define GRPC_NOT_FOUND 5

typedef Containerd__Services__Snapshots__V1__MountsRequest mounts_request;
typedef Containerd__Services__Snapshots__V1__MountsResponse mounts_response;
typedef Containerd__Services__Snapshots__V1__Mount mount_options;

struct outcome {
	int status; /* of gRPC; negative while it is unknown */
	char message[256];
};

/* "name: value\r\n" -> the value if it is that header */
static bool is_header(const char *line, size_t len, const char *name, char *ret, size_t size)
{
	size_t n = strlen(name);

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return false;
	for (line += n + 1, len -= n + 1; len && *line == ' '; line++)
		len--;
	while (len && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	snprintf(ret, size, "%.*s", (int)len, line);
	return true;
}

static size_t on_trailer(char *line, size_t size, size_t count, void *arg)
{
	struct outcome *outcome = arg;
	size_t len = size * count;
	char status[16];

	if (is_header(line, len, "grpc-status", status, sizeof(status)))
		outcome->status = atoi(status);
	else
		is_header(line, len, "grpc-message", outcome->message, sizeof(outcome->message));
	return len;
}

static int judge(const struct outcome *outcome, struct rb_err *err)
{
	if (outcome->status == GRPC_OK)
		return 0;
	if (outcome->status == GRPC_NOT_FOUND)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "containerd: %s",
				   outcome->message);
	return rb_err_code(err, RB_E_ENGINE, -EIO, "containerd: %s (status %d)",
			   *outcome->message ? outcome->message : "no explanation",
			   outcome->status);
}

/* --- messages --- */

static int pack(const struct rb_snapshot *snapshot, struct rb_buf *ret)
{
	mounts_request request = CONTAINERD__SERVICES__SNAPSHOTS__V1__MOUNTS_REQUEST__INIT;
	_cleanup_free_ uint8_t *packed = NULL;
	uint8_t frame[FRAME_SIZE] = { 0 };
	uint32_t len;
	size_t size;
	int r;

	request.snapshotter = (char *)snapshot->snapshotter;
	request.key = (char *)snapshot->key;
	size = containerd__services__snapshots__v1__mounts_request__get_packed_size(&request);
	packed = malloc(size + 1);
	if (!packed)
		return -ENOMEM;
	containerd__services__snapshots__v1__mounts_request__pack(&request, packed);
	len = htonl((uint32_t)size);
	memcpy(frame + 1, &len, sizeof(len));
	r = rb_buf_add(ret, frame, sizeof(frame));
	return r < 0 ? r : rb_buf_add(ret, packed, size);
}

static int upper_of(const mount_options *mount, char *ret, size_t size, struct rb_err *err)
{
	static const char key[] = "upperdir=";

	for (size_t i = 0; strcmp(mount->type, "overlay") == 0 && i < mount->n_options; i++) {
		const char *option = mount->options[i];

		if (strncmp(option, key, sizeof(key) - 1) != 0)
			continue;
		option += sizeof(key) - 1;
		if (*option != '/' || rb_path(ret, size, "%s", option) < 0)
			return rb_err_code(err, RB_E_ENGINE, -EPROTO,
					   "containerd: '%.200s' is no folder's path", option);
		return 0;
	}
	return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
			   "containerd keeps the container as a mount of type '%.40s'; only those "
			   "on overlayfs can be moved",
			   mount->type);
}

int rb_containerd_parse(const void *body, size_t len, char *ret, size_t size, struct rb_err *err)
{
	const uint8_t *frame = body;
	mounts_response *response = NULL;
	uint32_t announced;
	int r = -EPROTO;

	if (len >= FRAME_SIZE && frame[0] == 0) {
		memcpy(&announced, frame + 1, sizeof(announced));
		if (ntohl(announced) == len - FRAME_SIZE)
			response = containerd__services__snapshots__v1__mounts_response__unpack(
				NULL, len - FRAME_SIZE, frame + FRAME_SIZE);
	}
	if (response && response->n_mounts == 1)
		r = upper_of(response->mounts[0], ret, size, err);
	else
		rb_err_code(err, RB_E_ENGINE, r,
			    "containerd's answer about a snapshot is not understood");
	if (response)
		containerd__services__snapshots__v1__mounts_response__free_unpacked(response, NULL);
	return r;
}

/* --- the call --- */

static int prepare(struct rb_transfer *t, const struct rb_snapshot *snapshot,
		   const struct rb_buf *request, struct outcome *outcome, struct rb_err *err)
{
	char line[256];
	int r = rb_transfer_init(t, snapshot->socket_path, "POST", 0, MOUNTS_PATH, err);

	if (r < 0)
		return r;
	t->peer = t->daemon = "containerd";
	r = rb_path(line, sizeof(line), "containerd-namespace: %s", snapshot->name_space);
	if (r == 0)
		r = rb_transfer_header(t, line);
	if (r == 0)
		r = rb_transfer_header(t, "Content-Type: application/grpc");
	if (r == 0)
		r = rb_transfer_header(t, "TE: trailers");
	if (r < 0)
		return rb_err_set(err, r, "prepare a question to containerd");
	curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, request->data);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->len);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_trailer);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, outcome);
	return 0;
}

int rb_containerd_upper(const struct rb_snapshot *snapshot, char *ret, size_t size,
			const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf request = {}; /* used by the transfer until it is freed */
	_cleanup_transfer_ struct rb_transfer t = {};
	struct outcome outcome = { .status = -1 };
	int r = pack(snapshot, &request);

	if (r < 0)
		return rb_err_set(err, r, "prepare a question to containerd");
	r = prepare(&t, snapshot, &request, &outcome, err);
	if (r == 0)
		r = rb_transfer_run(&t, wait, err);
	if (r == 0)
		r = judge(&outcome, err);
	return r < 0 ? r : rb_containerd_parse(t.body.data, t.body.len, ret, size, err);
}
